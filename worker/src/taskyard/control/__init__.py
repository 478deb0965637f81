"""Remote control from the client: `app.control` asks and tells workers, Celery's as well as ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.control.control import TERM_SIGNAME, Control
    from taskyard.control.inspect import Inspect, flatten_reply

__all__ = ("TERM_SIGNAME", "Control", "Inspect", "flatten_reply")

#: Where the public names are: a worker needs a part of this package that must not cost it kombu's mailbox.
_MODULES = {"TERM_SIGNAME": "control", "Control": "control", "Inspect": "inspect", "flatten_reply": "inspect"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"taskyard.control.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
