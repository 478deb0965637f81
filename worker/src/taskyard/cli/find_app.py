"""From `-A module:attribute` to the App."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from taskyard.app import App

#: The app of App.start(), which needs no name.
chosen: App | None = None
#: What the command itself does not know of its arguments: options of the app's own (user_options["preload"]).
#: None: the command sees to them.
rest: list[str] | None = None


def find_app(name: str | None, workdir: str | None = None, *, needed: bool = True) -> App:
    """Import the app; ImproperlyConfigured says in one line what is wrong with the name or the module.

    Unless it is `needed` a broker is enough: what is asked of workers needs no tasks here.
    """
    app = _found(name, workdir, needed=needed)
    if rest is not None and (rest or app.user_options.get("preload")):
        from taskyard.cli.user_options import take_preload_options

        take_preload_options(app, rest)
    return app


def _found(name: str | None, workdir: str | None, *, needed: bool) -> App:
    name = name or os.environ.get("TASKYARD_APP") or os.environ.get("CELERY_APP")
    if not name and chosen is not None:
        chosen.import_default_modules()
        return chosen
    if not name:
        from taskyard.settings.effective import from_environment

        if not needed and from_environment("broker_url"):
            from taskyard.app import App

            return App("taskyard", set_as_current=False)
        broker = "" if needed else ", or -b with the broker's URL"
        raise ImproperlyConfigured(f"which app? Say taskyard -A module:app ..., or set TASKYARD_APP{broker}")
    if workdir:
        try:
            os.chdir(workdir)
        except OSError as error:
            raise ImproperlyConfigured(f"--workdir {workdir}: {error.strerror}") from None
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    found = _app_at(name)
    for extra in (*found.conf.imports, *found.conf.include):
        _import(extra)
    return found


def _app_at(name: str) -> App:
    """The app at "module:attribute" or "module.attribute", or in a module."""
    from taskyard.app import App
    from taskyard.app.finding import app_in
    from taskyard.settings.source import load

    place, _, attribute = name.partition(":")
    place = place.removesuffix(".py")
    with _explained(name, place):
        found: Any = importlib.import_module(place) if attribute else load(place)
        if isinstance(found, ModuleType) and not attribute:
            found = app_in(found)
            if found is None:
                raise ImproperlyConfigured(
                    f"there is no taskyard.App in the module; name it as {name}:attribute"
                )
    for part in attribute.split(".") if attribute else ():
        found = getattr(found, part, None)
    if not isinstance(found, App):
        raise ImproperlyConfigured(f"-A {name}: {attribute or place!r} is {_kind(found)}, not a taskyard.App")
    return found


def _import(module_name: str) -> None:
    with _explained(module_name, module_name):
        importlib.import_module(module_name)


@contextmanager
def _explained(shown: str, module_name: str) -> Iterator[None]:
    """What goes wrong with an import is said in one line."""
    try:
        yield
    except ImproperlyConfigured as error:
        raise ImproperlyConfigured(f"-A {shown}: {error}") from None
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise ImproperlyConfigured(
                f"-A {shown}: there is no module {module_name!r} in {os.getcwd()} or on PYTHONPATH"
            ) from None
        raise ImproperlyConfigured(f"-A {shown}: importing it failed: {error}") from None
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise ImproperlyConfigured(
            f"-A {shown}: import failed: {type(error).__name__}: {error} ({last.filename}:{last.lineno})"
        ) from None


def _kind(value: object) -> str:
    return "missing" if value is None else f"of type {type(value).__name__}"
