"""The settings as a catalogue: each with its type and default, by namespace, and by the part of a name.

What Celery's users import from celery.app.defaults, and settings as text on a command line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Any, NamedTuple

from taskyard.errors import ImproperlyConfigured
from taskyard.settings.check import allowed_types
from taskyard.settings.names import NAMES, modern, unknown_setting
from taskyard.settings.options import Options
from taskyard.settings.truth import TRUTH

DEFAULT_PROCESS_LOG_FMT: str = Options.worker_log_format
DEFAULT_TASK_LOG_FMT: str = Options.worker_task_log_format
DEFAULTS: dict[str, Any] = {name: getattr(Options, name) for name in Options.__annotations__}
SETTING_KEYS = frozenset(DEFAULTS)


class Option:
    """One setting: its default and its type."""

    def __init__(self, default: Any = None, type: Any = str, name: str = "") -> None:
        self.default = default
        self.type = type
        self.name = name

    def to_python(self, value: str) -> Any:
        """The value that a text stands for; ValueError for what is none."""
        return from_text(self.name, value)

    def __repr__(self) -> str:
        return f"<Option: {self.name} default->{self.default!r}>"


class find_result(NamedTuple):  # noqa: N801  Celery's name
    """Where a setting stands, and what it is."""

    namespace: str
    key: str
    type: Any


def _catalogue() -> dict[str, Any]:
    spaces = {"beat", "broker", "cache", "control", "database", "event", "mongodb", "redis", "result"}
    spaces |= {"security", "task", "worker"}
    found: dict[str, Any] = {}
    for name, default in DEFAULTS.items():
        option = Option(default, Options.__annotations__[name], name)
        space, _, key = name.partition("_")
        if space in spaces:
            found.setdefault(space, {})[key] = option
        else:
            found[name] = option
    return found


#: Namespace -> part of a name -> Option; settings of no namespace by their whole names.
NAMESPACES: Mapping[str, Any] = _catalogue()


def find(name: str, namespace: str = "celery") -> find_result:
    """The setting of that name, or the first of a namespace whose name ends so; KeyError for none."""
    known = name if name in NAMES else modern(name)
    if known is None:
        ends = f"_{name.lower()}"
        spaces = [namespace, *NAMESPACES]
        known = next((f"{space}{ends}" for space in spaces if f"{space}{ends}" in NAMES), None)
    if known is None:
        raise KeyError(unknown_setting(name))
    space, _, key = known.partition("_")
    if isinstance(NAMESPACES.get(space), dict):
        return find_result(space, key, NAMESPACES[space][key])
    return find_result("", known, NAMESPACES[known])


def from_text(name: str, text: str) -> Any:
    """A setting's value from a command line; ValueError for what it cannot be."""
    allowed = allowed_types(name)
    if bool in allowed and text.lower() in TRUTH:
        return TRUTH[text.lower()]
    if NoneType in allowed and text.lower() == "none":
        return None
    for kind in (int, float):
        if kind in allowed:
            try:
                return kind(text)
            except ValueError:
                continue
    if str in allowed or object in allowed:
        return text
    if any(kind in allowed for kind in (dict, list, tuple)):
        value = json.loads(text)
        if isinstance(value, allowed):
            return value
    raise ValueError(f"{name} cannot be {text!r}")


#: What a value may be said to be: `name=(int)3`.
_CASTS: Mapping[str, Callable[[str], Any]] = {
    "string": str,
    "str": str,
    "int": int,
    "float": float,
    "any": str,
    "bool": lambda text: TRUTH.get(text.lower(), False),
    **dict.fromkeys(("json", "dict", "list", "tuple"), json.loads),
}


def from_arguments(arguments: Iterable[str], namespace: str | None = "celery") -> dict[str, Any]:
    """Settings as `name=value`, `namespace.name=value`, `.name=value` (of that namespace) or
    `name=(type)value`; ValueError or ImproperlyConfigured for what is none.
    """
    values: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            raise ImproperlyConfigured(f"{argument!r} is no setting: write name=value")
        name = name.lower().replace(".", "_")
        if name.startswith("_"):
            name = f"{namespace.lower()}{name}" if namespace else name[1:]
        kind, closing, rest = text[1:].partition(")")
        if text.startswith("(") and closing and kind in _CASTS:
            values[name] = _CASTS[kind](rest)
            continue
        if name not in NAMES:
            raise ImproperlyConfigured(unknown_setting(name))
        values[name] = from_text(name, text)
    return values
