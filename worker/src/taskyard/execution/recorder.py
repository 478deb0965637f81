"""Recorder: which of a task's states are kept, and as what."""

from __future__ import annotations

import logging
import os
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from taskyard import signals
from taskyard.errors import BackendError, Reject
from taskyard.execution import tracing
from taskyard.result.meta import encode_meta, extended_fields
from taskyard.result.states import FAILURE, RETRY, STARTED, SUCCESS
from taskyard.result.store import stored_by_parent
from taskyard.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskyard.app import App
    from taskyard.context import Request
    from taskyard.execution.job import Job
    from taskyard.result.chord_parts import Part

logger = logging.getLogger("taskyard.task")

#: Seconds for which a store that is away is tried again, and between two attempts.
_PATIENCE_SECONDS = 600.0
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 10.0

#: (task id, JSON), for the parent to store before it settles the message.
Results = list[tuple[str, bytes]]


class Recorder:
    """Turns the states of tasks into results.

    Where the worker's parent stores them, they are handed to it; elsewhere, and for tasks of a chord, they
    are stored here and now through the app's store.  Should that be away for long, the message goes back to
    its queue.
    """

    def __init__(self, app: App, hostname: str, *, store: bool) -> None:
        self._app = app
        self._hostname = hostname
        self._store = store
        self._here = store and not stored_by_parent(app.conf)
        self._extended = app.conf.result_extended

    def is_done(self, job: Job) -> bool:
        """Whether an earlier delivery of this message has succeeded (worker_deduplicate_successful_tasks).

        What follows it was sent then: its result is stored after that.
        """
        try:
            done = self._backend.get_state(job.id) == SUCCESS
        except Exception as error:
            logger.warning("Whether %s[%s] was done cannot be asked (%r): it runs", job.name, job.id, error)
            return False
        if done:
            logger.info("Task already completed successfully: %s[%s] is not run again", job.name, job.id)
        return bool(done)

    def tracks_start(self, task: Task[..., Any], request: Request) -> bool:
        """Whether the state STARTED is wanted."""
        tracks = task.track_started if task.track_started is not None else self._app.conf.task_track_started
        return bool(tracks) and self.keeps_result(task, request)

    def waits_at_start(self, task: Task[..., Any] | None) -> bool:
        """Whether `started` may wait for a store."""
        if not self._here or task is None:
            return False
        tracks = task.track_started
        return bool(self._app.conf.task_track_started if tracks is None else tracks)

    def waits_at_success(self, task: Task[..., Any], request: Request) -> bool:
        """Whether `succeeded` waits for a store."""
        if self._here or task._backend is not None:
            return True
        return bool(request.chord) and not self._parent_tells_chords()

    def _parent_tells_chords(self) -> bool:
        """Whether parts of chords go to the parent with the results: to the store's own fan-in, unless
        somebody watches what a task sends, as tracers do: the last part of a chord sends its body.
        """
        from taskyard.result.redis_chord import RedisChords

        app = self._app
        kind: Any = type(self._backend)
        watched = signals.before_task_publish or signals.after_task_publish
        return (
            not watched
            and tracing.build_tracer is tracing.plain
            and Task.apply_async is Task.standard_apply_async
            and getattr(app.send_task, "__func__", None) is app.standard_send_task
            and getattr(kind, "on_chord_part_return", None) is RedisChords.on_chord_part_return
        )

    def part(self, task: Task[..., Any], request: Request, value: Any) -> Part | None:
        """What the parent is to tell the chord of a task that has returned."""
        if not request.group or self.waits_at_success(task, request):
            return None
        backend: Any = self._backend
        part: Part = backend.chord_part(request, SUCCESS, value)
        return part

    def keeps_result(self, task: Task[..., Any] | None, request: Request) -> bool:
        """Whether a success is kept: the message says so, else the task, else the app."""
        if not self._store and (task is None or task._backend is None):
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
        meta = {"pid": os.getpid(), "hostname": self._hostname}
        if self._here:
            return self._tell(lambda: self._backend.store_result(job.id, meta, STARTED, request=request))
        return [(job.id, self._meta(job, request, STARTED, meta))]

    def succeeded(self, job: Job, task: Task[..., Any], request: Request, value: Any) -> Results:
        """The task has returned."""
        keeps = self.keeps_result(task, request)
        if self.waits_at_success(task, request):
            return self._now(
                lambda: task.backend.mark_as_done(job.id, value, request=request, store_result=keeps)
            )
        return [(job.id, self._meta(job, request, SUCCESS, value))] if keeps else []

    def retried(
        self, job: Job, task: Task[..., Any], request: Request, reason: BaseException | None, text: str
    ) -> Results:
        """The task was sent again."""
        if not self.keeps_error(task, request):
            return []
        if self._here or task._backend is not None:
            return self._tell(lambda: task.backend.mark_as_retry(job.id, reason, text, request=request))
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
        keeps = self.keeps_error(task, request)
        chain = request.chain
        own = task is not None and task._backend is not None
        if own or self._here or request.chord or (chain and any(map(_has_chord, chain))):
            backend = task.backend if task is not None else self._backend
            return self._now(lambda: self._fail(backend, job, request, error, text, keeps))
        results = [(job.id, self._error_meta(job, request, error, text))] if keeps else []
        for signature in (chain or ()) if self._store else ():
            task_id = (signature.get("options") or {}).get("task_id")
            if isinstance(task_id, str):
                results.append((task_id, encode_meta(task_id, FAILURE, error, traceback=text)))
        return results

    @property
    def _backend(self) -> Any:
        return self._app.backend

    def _fail(
        self,
        backend: Any,
        job: Job,
        request: Request,
        error: BaseException,
        text: str | None,
        keeps: bool,
    ) -> None:
        if keeps:
            try:
                backend.store_result(job.id, error, FAILURE, traceback=text, request=request)
            except (TypeError, ValueError) as second:  # extended arguments that have no JSON form
                backend.store_result(job.id, second, FAILURE, traceback=text)
        if request.chord:
            backend.on_chord_part_return(request, FAILURE, error)
        backend.fail_chain(request.chain, error, text, store_result=self._store)

    def _now(self, store: Callable[[], Any]) -> Results:
        """Store what must not be lost: while the store is away, this task's place in the pool is kept."""
        deadline = monotonic() + _PATIENCE_SECONDS
        pause = _FIRST_PAUSE
        while True:
            try:
                store()
            except Exception as error:
                if not self._is_away(error):
                    raise
                if monotonic() > deadline:
                    raise Reject(error, requeue=True) from error
                logger.warning("The result store is away (%s), tried again in %.1f s", error, pause)
                sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                return []

    def _tell(self, store: Callable[[], Any]) -> Results:
        """Store what is good to know."""
        try:
            store()
        except Exception as error:
            if not self._is_away(error):
                raise
            logger.warning("The result store is away (%s), a state is not stored", error)
        return []

    def _is_away(self, error: Exception) -> bool:
        return isinstance(error, BackendError) or self._backend.exception_safe_to_retry(error)

    def _error_meta(self, job: Job, request: Request, error: BaseException, text: str | None) -> bytes:
        try:
            return self._meta(job, request, FAILURE, error, text)
        except Exception as second:  # children or extended arguments that have no JSON form
            return encode_meta(job.id, FAILURE, second, traceback=text)

    def _meta(
        self, job: Job, request: Request, state: str, result: Any, traceback: str | None = None
    ) -> bytes:
        headers = job.headers
        extended = extended_fields(request) if self._extended else None
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


def _has_chord(signature: dict[str, Any]) -> bool:
    """Whether the step is part of a chord, or one."""
    return "chord" in (signature.get("options") or {}) or signature.get("subtask_type") == "chord"
