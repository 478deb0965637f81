"""Runner: execute one job and say what became of it.

The order is Celery's: on success callbacks and the next step of the chain are sent, then the result is
stored (by the parent, before it acknowledges); on failure the result is stored, the rest of the chain
fails, error callbacks run.
"""

from __future__ import annotations

import logging
import signal
from contextvars import Token
from functools import partial
from time import monotonic, time
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from taskyard import signals
from taskyard.context import Request, current
from taskyard.errors import (
    Ignore,
    MalformedMessage,
    NotRegistered,
    Postpone,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    TaskPredicate,
)
from taskyard.execution import lines, tracing
from taskyard.execution.exception_info import ExceptionInfo
from taskyard.execution.followers import call_errbacks, send_next
from taskyard.execution.job import ACK, MALFORMED, POSTPONED, PROGRESS, REJECT, REQUEUE, Job, Outcome
from taskyard.execution.recorder import Recorder, Results
from taskyard.message.codec import content_types, loads
from taskyard.message.protocol import read_body
from taskyard.message.saferepr import safe_repr
from taskyard.result.states import FAILURE, RETRY, STARTED, SUCCESS
from taskyard.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskyard.app import App

logger = logging.getLogger("taskyard.trace")

_Current = tuple[Task[..., Any] | None, Request] | None


class SoftLimit:
    """Raises SoftTimeLimitExceeded in the task that a signal is meant for, and never outside of one."""

    def __init__(self) -> None:
        self.running: int | None = None

    def exceeded(self, seq: int) -> None:
        """The soft limit of job `seq` has passed; called in the main thread by the signal handler."""
        if self.running == seq:
            self.running = None
            raise SoftTimeLimitExceeded


class Attempt:
    """A job that has begun and not ended."""

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
            return self._not_registered(job, request)
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
        try:
            outcome = self._raised(attempt, error)
        except Reject as refused:  # the result store is away
            outcome = self._raised(attempt, refused)
        except Exception as second:
            outcome = self._internal_error(attempt, second)
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
            self._hook(task.on_success, value, job.id, request.args, request.kwargs)
        if signals.task_success:
            signals.task_success.send(sender=task, result=value, runtime=runtime)
        if self._info:
            lines.succeeded(job, request, runtime, safe_repr(value, task.resultrepr_maxsize))
        self._after_return(attempt, SUCCESS, value, None)
        report = (safe_repr(value, task.resultrepr_maxsize), "") if job.properties.get("events") else None
        return Outcome(job.seq, ACK, SUCCESS, results, runtime, report=report, part=part)

    # -- everything else
    def _raised(self, attempt: Attempt, error: BaseException) -> Outcome:
        job, request = attempt.job, attempt.request
        runtime = monotonic() - attempt.began
        if isinstance(error, Retry):
            return self._retried(attempt, error, runtime)
        if isinstance(error, Ignore):
            lines.ignored(job, request)
            return Outcome(job.seq, ACK, "IGNORED", [], runtime)
        if isinstance(error, Reject):
            lines.rejected(job, request, error.reason)
            reason = f"rejected by the task: {error.reason}"
            if error.requeue:
                return Outcome(job.seq, REQUEUE, "REJECTED", [], runtime, reason)
            # It will not run again: who waits for its result must hear of it.
            einfo = ExceptionInfo(error)
            results = self._record_failure(attempt, error, einfo)
            report = (safe_repr(error), einfo.traceback)
            return Outcome(job.seq, REJECT, "REJECTED", results, runtime, reason, report=report)
        if isinstance(error, Postpone):
            name = request.shadow or job.name
            logger.info("Task %s[%s] postponed by %.1f s: %s", name, job.id, error.seconds, error.reason)
            due = time() + error.seconds
            return Outcome(job.seq, POSTPONED, "POSTPONED", [], runtime, error.reason, due=due)
        return self._failed(attempt, error, runtime)

    def _internal_error(self, attempt: Attempt, error: Exception) -> Outcome:
        """What became of the task could not be recorded, and trying again would not help."""
        job, task, request = attempt.job, attempt.task, attempt.request
        einfo = ExceptionInfo(error, internal=True)
        lines.unrecorded(job, request, error, einfo.traceback)
        if signals.task_internal_error:
            signals.task_internal_error.send(
                sender=task,
                task_id=job.id,
                args=request.args,
                kwargs=request.kwargs,
                request=request,
                exception=error,
                traceback=error.__traceback__,
                einfo=einfo,
            )
        reason = f"its end could not be recorded: {safe_repr(error)}"
        runtime = monotonic() - attempt.began
        report = (safe_repr(error), einfo.traceback)
        return Outcome(job.seq, REJECT, FAILURE, [], runtime, reason, report=report)

    def _retried(self, attempt: Attempt, error: Retry, runtime: float) -> Outcome:
        job, task, request = attempt.job, attempt.task, attempt.request
        einfo = ExceptionInfo(error)
        text = einfo.traceback
        results = self._recorder.retried(job, task, request, error.exc, text)
        self._hook(task.on_retry, error.exc, job.id, request.args, request.kwargs, einfo)
        if signals.task_retry:
            signals.task_retry.send(sender=task, request=request, reason=error, einfo=einfo)
        if self._info:
            lines.retried(job, request, error)
        return Outcome(
            job.seq,
            ACK,
            RETRY,
            results,
            runtime,
            str(error),
            report=(safe_repr(error.exc or error), text),
        )

    def _failed(self, attempt: Attempt, error: BaseException, runtime: float) -> Outcome:
        job, task, request = attempt.job, attempt.task, attempt.request
        einfo = ExceptionInfo(error)
        text = einfo.traceback
        results = self._record_failure(attempt, error, einfo)
        self._hook(task.on_failure, error, job.id, request.args, request.kwargs, einfo)
        expected = bool(task.throws and isinstance(error, task.throws))
        lines.failed(job, request, error, text, expected=expected)
        self._after_return(attempt, FAILURE, error, einfo)
        reason = safe_repr(error)
        return Outcome(
            job.seq,
            ACK if task.acks_on_failure else REJECT,
            FAILURE,
            results,
            runtime,
            reason,
            report=(reason, text),
        )

    def _record_failure(self, attempt: Attempt, error: BaseException, einfo: ExceptionInfo) -> Results:
        job, task, request = attempt.job, attempt.task, attempt.request
        results: Results = self._recorder.failed(job, task, request, error, einfo.traceback)
        if request.embed:
            call_errbacks(self._app, request, error, einfo.traceback)
        if signals.task_failure:
            signals.task_failure.send(
                sender=task,
                task_id=job.id,
                exception=error,
                args=request.args,
                kwargs=request.kwargs,
                traceback=einfo.tb,
                einfo=einfo,
            )
        return results

    def _not_registered(self, job: Job, request: Request) -> Outcome:
        logger.error(
            "Received unregistered task %r [%s]; is its module imported? It goes to the dead letters",
            job.name,
            job.id,
        )
        error = NotRegistered(job.name)
        results = self._recorder.failed(job, None, request, error, None)
        return Outcome(
            job.seq,
            REJECT,
            FAILURE,
            results,
            0.0,
            f"task {job.name!r} is not registered",
            report=(safe_repr(error), ""),
        )

    def _hook(self, hook: Callable[..., Any], *args: Any) -> None:
        try:
            hook(*args)
        except Reject:
            raise
        except Exception:
            logger.exception("Hook %s failed", getattr(hook, "__qualname__", hook))

    def _after_return(self, attempt: Attempt, state: str, value: Any, einfo: ExceptionInfo | None) -> None:
        task, request = attempt.task, attempt.request
        if task.__class__.after_return is not Task.after_return:
            self._hook(task.after_return, state, value, attempt.job.id, request.args, request.kwargs, einfo)


def install_soft_limit_signal(runner: Runner, seq_of_signal: Callable[[], int]) -> None:
    """Let SIGUSR1 end the running task softly; only the job that the parent meant (`seq_of_signal`)."""

    def on_signal(number: int, frame: Any) -> None:
        runner.soft_limit.exceeded(seq_of_signal())

    signal.signal(signal.SIGUSR1, on_signal)
