"""RequestStack: a task's requests by the methods that Celery's `Task.request_stack` has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from taskyard.context import Request, current, enter, leave, request_of

if TYPE_CHECKING:
    from taskyard.task import Task


class RequestStack:
    """The stack of this thread or coroutine, as far as one task is concerned."""

    def __init__(self, task: Task[..., Any]) -> None:
        self._task = task

    def push(self, request: Request) -> None:
        """Put a request on top."""
        enter(self._task, request)

    def pop(self) -> Request | None:
        """Take the topmost request off."""
        return leave(self._task)

    @property
    def top(self) -> Request | None:
        """The topmost request."""
        return request_of(self._task)

    @property
    def stack(self) -> list[Request]:
        """All requests, the topmost last."""
        return list(self._downward())[::-1]

    def _downward(self) -> Iterator[Request]:
        running = current.get()
        while running is not None:
            owner, request = running
            if owner is self._task:
                yield request
            running = request.below

    def __len__(self) -> int:
        return len(self.stack)
