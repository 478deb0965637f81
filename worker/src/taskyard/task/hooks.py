"""Hooks of a task, which a subclass or an attribute of it replaces."""

from __future__ import annotations

from typing import Any


class Hooks:
    """Mixed into Task.

    What they raise is logged by a worker, but for Reject, which it heeds; `apply` raises it.
    """

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Hook: the task is about to begin."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Hook: the task returned."""

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Hook: the task raised."""

    def on_retry(self, exc: BaseException | None, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Hook: the task will be retried."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Hook: the task has ended, however."""
