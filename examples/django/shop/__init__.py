"""The project; importing it makes the app the current one, for `shared_task`."""

from .tasks_app import app as tasks_app

__all__ = ["tasks_app"]
