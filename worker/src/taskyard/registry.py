"""Task names and what they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from taskyard.errors import AlreadyRegistered, NotRegistered

if TYPE_CHECKING:
    from taskyard.task import Task


def __getattr__(name: str) -> Any:
    """`registry.tasks` is the current app's, as tracers written for Celery expect."""
    if name != "tasks":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from taskyard.shared import get_current_app

    return get_current_app().tasks


class Registry:
    """name -> Task; a second function under a name is refused, the same one again is fine (reloads)."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task[..., Any]] = {}

    def register(self, task: Task[..., Any]) -> None:
        """Add a task under its name."""
        known = self._tasks.get(task.name)
        if known is not None and known.origin != task.origin:
            raise AlreadyRegistered(
                f"task name {task.name!r} is taken by {known.origin}; give one of them another name=..."
            )
        self._tasks[task.name] = task

    def find(self, name: str) -> Task[..., Any] | None:
        """The task of that name, or None."""
        return self._tasks.get(name)

    def __getitem__(self, name: str) -> Task[..., Any]:
        try:
            return self._tasks[name]
        except KeyError:
            raise NotRegistered(name) from None

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)
