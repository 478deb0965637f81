"""Tasks that can be asked to stop: they look at their own stored state from time to time.

The caller's `abort()` stores ABORTED; the task honours it where it looks, by `is_aborted()`.  The store must
be one that both sides can read and write: not rpc.
"""

from __future__ import annotations

from typing import Any

from taskyard.result import AsyncResult
from taskyard.task import Task

__all__ = ["ABORTED", "AbortableAsyncResult", "AbortableTask"]

#: The task is asked to stop as soon as it can.
ABORTED = "ABORTED"


class AbortableAsyncResult(AsyncResult[Any]):
    """The result of an AbortableTask."""

    def is_aborted(self) -> bool:
        """Whether the task was asked to stop."""
        return self.state == ABORTED

    def abort(self) -> Any:
        """Ask the task to stop; when, and whether, it does is its own business."""
        return self.backend.store_result(self.id, None, ABORTED)


class AbortableTask(Task[..., Any]):
    """Base of tasks that look whether they are to stop: `@app.task(bind=True, base=AbortableTask)`."""

    abstract = True

    def AsyncResult(self, task_id: str, **options: Any) -> AbortableAsyncResult:  # noqa: N802  Celery's name
        """The result of a call of this task."""
        return AbortableAsyncResult(task_id, task_name=self.name, app=self.app)

    def is_aborted(self, **options: Any) -> bool:
        """Whether this task was asked to stop; asks the result store each time."""
        task_id = options.get("task_id", self.request.id)
        if task_id is None:
            return False
        result = self.AsyncResult(task_id)
        return isinstance(result, AbortableAsyncResult) and result.is_aborted()
