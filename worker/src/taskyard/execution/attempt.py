"""Attempt: a job that has begun and not ended."""

from __future__ import annotations

from contextvars import Token
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.context import Request
    from taskyard.execution.job import Job
    from taskyard.task import Task

_Current = tuple["Task[..., Any] | None", "Request"] | None


class Attempt:
    """The task, what it was called with, and since when it runs."""

    __slots__ = ("began", "job", "request", "task", "token")

    def __init__(
        self, job: Job, task: Task[..., Any], request: Request, token: Token[_Current], began: float
    ) -> None:
        self.job = job
        self.task = task
        self.request = request
        self.token = token
        #: Monotonic seconds.
        self.began = began
