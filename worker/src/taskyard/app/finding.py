"""The app that a module holds."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskyard.app.app import App

#: Attributes that are looked at first.
_ATTRIBUTES = ("app", "celery", "taskyard")
#: Modules of a package that may have it instead; what is called `app` is often another program's.
_MODULES = ("celery", "taskyard", "app")


def app_in(module: ModuleType) -> App | None:
    """Its app by one of the usual names, or the first that there is; of a package without, that of its module
    `celery`, `taskyard` or `app`.
    """
    from taskyard.app.app import App

    usual = [getattr(module, name, None) for name in _ATTRIBUTES]
    for each in (*usual, *vars(module).values()):
        if isinstance(each, App):
            return each
    if not hasattr(module, "__path__"):
        return None
    for name in _MODULES:
        inner = f"{module.__name__}.{name}"
        found = app_in(import_module(inner)) if find_spec(inner) else None
        if found is not None:
            return found
    return None
