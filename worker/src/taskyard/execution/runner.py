"""Runner: execute one job and say what became of it.

The order is Celery's: on success callbacks and the next step of the chain are sent, then the result is
stored (by the parent, before it acknowledges); on failure the result is stored, the rest of the chain
fails, error callbacks run.
"""

from __future__ import annotations

import logging
from functools import partial
from time import monotonic
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from taskyard import signals
from taskyard.context import Request, current
from taskyard.errors import MalformedMessage, Reject, TaskPredicate
from taskyard.execution import lines, tracing
from taskyard.execution.attempt import Attempt
from taskyard.execution.conclusion import Conclusions, after_return, call_hook
from taskyard.execution.followers import send_next
from taskyard.execution.job import ACK, MALFORMED, PROGRESS, Job, Outcome
from taskyard.execution.recorder import Recorder
from taskyard.execution.soft_limit import SoftLimit
from taskyard.message.codec import content_types, loads
from taskyard.message.protocol import read_body
from taskyard.message.saferepr import safe_repr
from taskyard.result.states import FAILURE, STARTED, SUCCESS
from taskyard.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskyard.app import App

logger = logging.getLogger("taskyard.trace")


class Runner:
    """Runs jobs: `run` from end to end, or `begin`, `call` and then `finish` or `fail`.

    The four are for pools that await coroutines: all of one job belong into the same context (the same
    asyncio.Task).  Threads have a Runner each.
    """

    def __init__(
        self, app: App, hostname: str, *, store: bool, progress: Callable[[Outcome], None] | None = None
    ) -> None:
        self._app = app
        self._hostname = hostname
        self._recorder = Recorder(app, hostname, store=store)
        self._conclusions = Conclusions(app, self._recorder)
        self._progress = progress
        self._accept = content_types(app.conf.accept_content)
        self._most_bytes = app.conf.worker_max_message_bytes
        self._info = logger.isEnabledFor(logging.INFO)
        self._loop: Any = None
        self._skips_done = store and app.conf.worker_deduplicate_successful_tasks
        self.soft_limit = SoftLimit()

    def run(self, job: Job, *, traced: bool = False) -> Outcome:
        """Execute; never raises for anything that a task or a message can do."""
        if tracing.build_tracer is not tracing.plain and not traced:
            return self._run_traced(job)
        attempt = self.begin(job)
        if isinstance(attempt, Outcome):
            return attempt
        soft_limit = self.soft_limit
        try:
            soft_limit.running = job.seq
            try:
                value = self.call(attempt)
                if type(value) is CoroutineType:
                    value = self.wait_for(value)
            finally:
                soft_limit.running = None
        except BaseException as error:  # a task that calls sys.exit() has failed; the process goes on
            return self.fail(attempt, error)
        return self.finish(attempt, value)

    def _run_traced(self, job: Job) -> Outcome:
        """Somebody wants to see each message from before its beginning until after its end."""
        run = partial(self.run, job, traced=True)
        task = self._app.tasks.find(job.name)
        try:
            args, kwargs, _ = read_body(self._loads(job))
        except MalformedMessage:
            task = None
        return run() if task is None else tracing.traced(job, task, args, kwargs, run)

    def _loads(self, job: Job) -> Any:
        packed = job.headers.get("compression")
        return loads(job.body, job.content_type, job.content_encoding, self._accept, packed, self._most_bytes)

    def begin(self, job: Job) -> Attempt | Outcome:
        """Decode the message and find its task; an Outcome if there is nothing to call."""
        began = monotonic()
        if self._skips_done and job.delivery_info.get("redelivered") and self._recorder.is_done(job):
            return Outcome(job.seq, ACK, SUCCESS, [], 0.0)
        try:
            args, kwargs, embed = read_body(self._loads(job))
        except MalformedMessage as error:
            return Outcome(job.seq, MALFORMED, FAILURE, [], 0.0, error.reason)
        request = Request(
            job.headers,
            args,
            kwargs,
            embed,
            job.properties,
            job.delivery_info,
            self._hostname,
            called_directly=False,
        )
        task = self._app.tasks.find(job.name)
        if task is None:
            return self._conclusions.not_registered(job, request)
        attempt = Attempt(job, task, request, current.set((task, request)), began)
        try:
            if signals.task_prerun:
                signals.task_prerun.send(sender=task, task_id=job.id, task=task, args=args, kwargs=kwargs)
            if self._progress is not None and self._recorder.tracks_start(task, request):
                results = self._recorder.started(job, request)
                self._progress(Outcome(job.seq, PROGRESS, STARTED, results, 0.0))
            if task.__class__.before_start is not Task.before_start:
                task.before_start(job.id, args, kwargs)
        except BaseException as error:
            return self.fail(attempt, error)
        return attempt

    def waits_to_begin(self, job: Job) -> bool:
        """Whether `begin` may wait for a store."""
        if self._skips_done and job.delivery_info.get("redelivered"):
            return True
        return self._recorder.waits_at_start(self._app.tasks.find(job.name))

    def waits_to_finish(self, attempt: Attempt) -> bool:
        """Whether `finish` waits for a broker or a store."""
        request = attempt.request
        followed = any((request.embed or {}).values())
        return followed or self._recorder.waits_at_success(attempt.task, request)

    def call(self, attempt: Attempt) -> Any:
        """Call the task; for an `async def` the coroutine is returned, to be awaited."""
        task, request = attempt.task, attempt.request
        if task.__class__.__call__ is not Task.__call__:
            return task(*request.args, **request.kwargs)
        return task.run(*request.args, **request.kwargs)

    def finish(self, attempt: Attempt, value: Any) -> Outcome:
        """The task has returned `value`: send what follows and make its result."""
        try:
            request = attempt.request
            if request.callbacks or request.chain:
                send_next(self._app, request, value)
            outcome = self._succeeded(attempt, value)
        except BaseException as error:  # not of its own: no reason to run it again
            return self._conclude(attempt, error)
        self._end(attempt, SUCCESS, value)
        return outcome

    def fail(self, attempt: Attempt, error: BaseException) -> Outcome:
        """The task has raised: a failure, a retry, or a wish (Ignore, Reject)."""
        if not isinstance(error, TaskPredicate):
            error = attempt.task.autoretry(error)
        return self._conclude(attempt, error)

    def _conclude(self, attempt: Attempt, error: BaseException) -> Outcome:
        conclude = self._conclusions
        try:
            outcome = conclude.raised(attempt, error)
        except Reject as refused:  # the result store is away
            outcome = conclude.raised(attempt, refused)
        except Exception as second:
            outcome = conclude.internal_error(attempt, second)
        self._end(attempt, outcome.state, error)
        return outcome

    def abandon(self, attempt: Attempt) -> None:
        """Forget an attempt that was ended from outside; nothing is recorded."""
        current.reset(attempt.token)

    def close(self) -> None:
        """Free what was kept for the next job."""
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def _end(self, attempt: Attempt, state: str, value: Any) -> None:
        request = attempt.request
        if signals.task_postrun:
            signals.task_postrun.send(
                sender=attempt.task,
                task_id=attempt.job.id,
                task=attempt.task,
                args=request.args,
                kwargs=request.kwargs,
                retval=value,
                state=state,
            )
        current.reset(attempt.token)

    def wait_for(self, body: CoroutineType[Any, Any, Any]) -> Any:
        """Run a coroutine to its end on a loop of this runner's own."""
        if self._loop is None:
            from taskyard.execution.coroutine import Loop

            self._loop = Loop()
        return self._loop.run(body)

    # -- success
    def _succeeded(self, attempt: Attempt, value: Any) -> Outcome:
        job, task, request = attempt.job, attempt.task, attempt.request
        results = self._recorder.succeeded(job, task, request, value)
        part = self._recorder.part(task, request, value) if request.chord else None
        runtime = monotonic() - attempt.began
        if task.__class__.on_success is not Task.on_success:
            call_hook(task.on_success, value, job.id, request.args, request.kwargs)
        if signals.task_success:
            signals.task_success.send(sender=task, result=value, runtime=runtime)
        if self._info:
            lines.succeeded(job, request, runtime, safe_repr(value, task.resultrepr_maxsize))
        after_return(attempt, SUCCESS, value, None)
        report = (safe_repr(value, task.resultrepr_maxsize), "") if job.properties.get("events") else None
        return Outcome(job.seq, ACK, SUCCESS, results, runtime, report=report, part=part)
