"""Recorder: which of a task's states are kept, and as what."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from taskyard.result.meta import encode_meta
from taskyard.result.states import FAILURE, RETRY, STARTED, SUCCESS

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.context import Request
    from taskyard.execution.job import Job
    from taskyard.task import Task

#: (task id, JSON), for the parent to store before it settles the message.
Results = list[tuple[str, bytes]]


class Recorder:
    """Turns the states of tasks into results."""

    def __init__(self, app: App, hostname: str, *, store: bool) -> None:
        self._app = app
        self._hostname = hostname
        self._store = store
        self._extended = app.conf.result_extended

    def tracks_start(self, task: Task[..., Any], request: Request) -> bool:
        """Whether the state STARTED is wanted."""
        tracks = task.track_started if task.track_started is not None else self._app.conf.task_track_started
        return bool(tracks) and self.keeps_result(task, request)

    def keeps_result(self, task: Task[..., Any] | None, request: Request) -> bool:
        """Whether a success is kept: the message says so, else the task, else the app."""
        if not self._store:
            return False
        explicit = request.message_headers.get("ignore_result")
        if explicit is None:
            explicit = task.ignore_result if task is not None else None
        return not (self._app.conf.task_ignore_result if explicit is None else explicit)

    def keeps_error(self, task: Task[..., Any] | None, request: Request) -> bool:
        """Whether a failure or retry is kept."""
        if self.keeps_result(task, request):
            return True
        own = task.store_errors_even_if_ignored if task is not None else None
        return self._store and bool(self._app.conf.task_store_errors_even_if_ignored if own is None else own)

    def started(self, job: Job, request: Request) -> Results:
        """The task has begun."""
        return [(job.id, self._meta(job, request, STARTED, {"pid": os.getpid(), "hostname": self._hostname}))]

    def succeeded(self, job: Job, task: Task[..., Any], request: Request, value: Any) -> Results:
        """The task has returned."""
        if not self.keeps_result(task, request):
            return []
        return [(job.id, self._meta(job, request, SUCCESS, value))]

    def retried(
        self, job: Job, task: Task[..., Any], request: Request, reason: BaseException | None, text: str
    ) -> Results:
        """The task was sent again."""
        if not self.keeps_error(task, request):
            return []
        return [(job.id, self._meta(job, request, RETRY, reason, text))]

    def failed(
        self,
        job: Job,
        task: Task[..., Any] | None,
        request: Request,
        error: BaseException,
        text: str | None,
    ) -> Results:
        """The task has failed, and with it the steps of its chain that will never run."""
        results = []
        if self.keeps_error(task, request):
            results.append((job.id, self._error_meta(job, request, error, text)))
        if self._store and request.embed:
            for signature in request.chain or ():
                task_id = (signature.get("options") or {}).get("task_id")
                if isinstance(task_id, str):
                    results.append((task_id, encode_meta(task_id, FAILURE, error, traceback=text)))
        return results

    def _error_meta(self, job: Job, request: Request, error: BaseException, text: str | None) -> bytes:
        try:
            return self._meta(job, request, FAILURE, error, text)
        except Exception as second:  # children or extended arguments that have no JSON form
            return encode_meta(job.id, FAILURE, second, traceback=text)

    def _meta(
        self, job: Job, request: Request, state: str, result: Any, traceback: str | None = None
    ) -> bytes:
        headers = job.headers
        extended = None
        if self._extended:
            extended = {
                "name": job.name,
                "args": request.args,
                "kwargs": request.kwargs,
                "worker": self._hostname,
                "retries": request.retries,
                "queue": request.delivery_info.get("routing_key"),
            }
        return encode_meta(
            job.id,
            state,
            result,
            traceback=traceback,
            children=[child.as_tuple() for child in request.children],
            group_id=headers.get("group"),
            parent_id=headers.get("parent_id"),
            extended=extended,
        )
