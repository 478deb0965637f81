"""App, by which a program knows its tasks, its broker and its results."""

from taskyard.app.app import App
from taskyard.local import Proxy
from taskyard.shared import app_or_default, pop_current_task, push_current_task, shared_task
from taskyard.shared import get_current_app as _current

__all__ = [
    "App",
    "app_or_default",
    "bugreport",
    "default_app",
    "pop_current_task",
    "push_current_task",
    "shared_task",
]


def _default() -> object:
    from taskyard import shared

    return shared.default_app


#: Stands for the app that was made the default.
default_app = Proxy(_default)


def bugreport(app: App | None = None) -> str:
    """What matters when an error is reported."""
    report: str = (app or _current()).bugreport()
    return report
