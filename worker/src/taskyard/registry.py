"""Task names and what they stand for."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from taskyard.errors import AlreadyRegistered, InvalidTaskError, NotRegistered

if TYPE_CHECKING:
    from taskyard.task import Task


def __getattr__(name: str) -> Any:
    """`registry.tasks` is the current app's, as tracers written for Celery expect."""
    if name != "tasks":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from taskyard.shared import get_current_app

    return get_current_app().tasks


class Registry(dict[str, "Task[..., Any]"]):
    """name -> Task; a second function under a name is refused, the same one again is fine (reloads)."""

    NotRegistered = NotRegistered

    def regular(self) -> dict[str, Any]:
        """The tasks that are not marked as periodic."""
        return self.filter_types("regular")

    def periodic(self) -> dict[str, Any]:
        """The tasks with `type="periodic"`."""
        return self.filter_types("periodic")

    def filter_types(self, type: str) -> dict[str, Any]:
        """The tasks of that type."""
        return {name: task for name, task in self.items() if getattr(task, "type", "regular") == type}

    def register(self, task: Any) -> None:
        """Add a task under its name."""
        if not task.name:
            raise InvalidTaskError(f"the task {task!r} has no name")
        instance: Any = task() if inspect.isclass(task) else task
        known = self.get(instance.name)
        if known is not None and known is not instance and known.origin != instance.origin:
            raise AlreadyRegistered(
                f"task name {instance.name!r} is taken by {known.origin}; give one of them another name=..."
            )
        self[instance.name] = instance

    def unregister(self, name: Any) -> None:
        """Remove a task, or the task of that name; NotRegistered if it is not there."""
        try:
            del self[getattr(name, "name", name)]
        except KeyError:
            raise NotRegistered(name) from None

    #: The task of that name, or None.
    find = dict.get

    def __missing__(self, name: str) -> Any:
        raise NotRegistered(name)
