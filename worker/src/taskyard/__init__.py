"""Taskyard: a distributed task queue on Celery's wire.

from taskyard import App

app = App("shop", broker="redis://localhost/0")

@app.task
def add(x: int, y: int) -> int:
    return x + y
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskyard.app import App
from taskyard.shared import current_app, current_task, shared_task
from taskyard.task import Task

if TYPE_CHECKING:
    from taskyard.canvas import Signature, chain, chord, chunks, group, signature, xmap, xstarmap

__version__ = "0.1.0"

__all__ = [
    "App",
    "Signature",
    "Task",
    "__version__",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "shared_task",
    "signature",
    "xmap",
    "xstarmap",
]

#: Names and modules that are imported when they are first used.
_LATE = {
    **dict.fromkeys(
        ("Signature", "chain", "chord", "chunks", "group", "signature", "xmap", "xstarmap"), "taskyard.canvas"
    ),
    "maybe_signature": "taskyard.canvas",
    "subtask": "taskyard.canvas",
    "bugreport": "taskyard.app",
    "uuid": "taskyard.message.identity",
}


def __getattr__(name: str) -> Any:
    place = _LATE.get(name)
    if place is not None:
        return getattr(import_module(place), name)
    if name.startswith("_"):
        raise AttributeError(f"module 'taskyard' has no attribute {name!r}")
    try:
        return import_module(f"taskyard.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"taskyard.{name}":
            raise
        raise AttributeError(f"module 'taskyard' has no attribute {name!r}") from None
