"""An app's own options of the command line: `app.user_options["preload"]` and `["worker"]`.

Each is a click.Option, as Celery takes them, or a function that is given an argparse parser.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NoReturn

from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from taskyard.app import App


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ImproperlyConfigured(message)


def parse_user_options(app: App, rest: list[str]) -> dict[str, Any]:
    """The values of the app's options of a worker by name; ImproperlyConfigured for what nobody knows."""
    preload, rest = _parsed(app, "preload", rest)
    own, rest = _parsed(app, "worker", rest)
    _refuse(rest)
    _announce(app, preload)
    return {**preload, **own}


def take_preload_options(app: App, rest: list[str]) -> None:
    """Tell the app of its options that go with every command; ImproperlyConfigured for what nobody knows."""
    preload, rest = _parsed(app, "preload", rest)
    _refuse(rest)
    _announce(app, preload)


def _parsed(app: App, group: str, rest: list[str]) -> tuple[dict[str, Any], list[str]]:
    parser = _Parser(add_help=False, allow_abbrev=False)
    for option in (getattr(app, "user_options", None) or {}).get(group) or ():
        _add(parser, option)
    known, rest = parser.parse_known_args(rest)
    return vars(known), rest


def _refuse(rest: list[str]) -> None:
    if rest:
        raise ImproperlyConfigured(f"unrecognized arguments: {' '.join(rest)}")


def _announce(app: App, preload: dict[str, Any]) -> None:
    if (getattr(app, "user_options", None) or {}).get("preload"):
        from taskyard.signals import user_preload_options

        user_preload_options.send(sender=app, app=app, options=preload)


def _add(parser: argparse.ArgumentParser, option: Any) -> None:
    names = getattr(option, "opts", None)
    if names is None:
        option(parser)
        return
    common: dict[str, Any] = {"dest": option.name, "help": getattr(option, "help", None)}
    default = getattr(option, "default", None)
    # click has an object of its own for "no default".
    known = default is None or isinstance(default, (bool, int, float, str, list, tuple))
    common["default"] = default if known else None
    if getattr(option, "is_flag", False):
        parser.add_argument(*names, action="store_true", **{**common, "default": bool(common["default"])})
        for name in getattr(option, "secondary_opts", ()):
            parser.add_argument(name, action="store_false", dest=option.name, default=argparse.SUPPRESS)
        return
    if getattr(option, "multiple", False):
        common["action"] = "append"
    parser.add_argument(*names, type=getattr(option, "type", None) or str, **common)
