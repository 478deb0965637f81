"""How a job ends whose task has not returned: failed, retried, ignored, refused, postponed, unknown."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from taskyard import signals
from taskyard.errors import Ignore, NotRegistered, Postpone, Reject, Retry
from taskyard.execution import lines
from taskyard.execution.exception_info import ExceptionInfo, tell_of_failure
from taskyard.execution.followers import call_errbacks
from taskyard.execution.job import ACK, POSTPONED, REJECT, REQUEUE, Job, Outcome
from taskyard.message.saferepr import safe_repr
from taskyard.result.states import FAILURE, RETRY
from taskyard.task import Task

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.context import Request
    from taskyard.execution.attempt import Attempt
    from taskyard.execution.recorder import Recorder, Results

logger = logging.getLogger("taskyard.trace")


class Conclusions:
    """Makes the outcomes; what is stored and sent besides is done when they return."""

    def __init__(self, app: App, recorder: Recorder) -> None:
        self._app = app
        self._recorder = recorder
        self._info = logger.isEnabledFor(logging.INFO)

    def raised(self, attempt: Attempt, error: BaseException) -> Outcome:
        """By an error, a retry, or a wish (Ignore, Reject, Postpone)."""
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

    def internal_error(self, attempt: Attempt, error: Exception) -> Outcome:
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
        call_hook(task.on_retry, error.exc, job.id, request.args, request.kwargs, einfo)
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
        call_hook(task.on_failure, error, job.id, request.args, request.kwargs, einfo)
        expected = bool(task.throws and isinstance(error, task.throws))
        lines.failed(job, request, error, text, expected=expected)
        after_return(attempt, FAILURE, error, einfo)
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
        tell_of_failure(task, job.id, request, error, einfo)
        return results

    def not_registered(self, job: Job, request: Request) -> Outcome:
        """There is no task of that name here."""
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


def call_hook(hook: Callable[..., Any], *args: Any) -> None:
    """Call what a task overrides: its errors are logged, but for Reject."""
    try:
        hook(*args)
    except Reject:
        raise
    except Exception:
        logger.exception("Hook %s failed", getattr(hook, "__qualname__", hook))


def after_return(attempt: Attempt, state: str, value: Any, einfo: ExceptionInfo | None) -> None:
    """Call the task's own `after_return`, if it has one."""
    task, request = attempt.task, attempt.request
    if task.__class__.after_return is not Task.after_return:
        call_hook(task.after_return, state, value, attempt.job.id, request.args, request.kwargs, einfo)
