"""Runner: execute one job and say what became of it.

The order is Celery's: on success callbacks and the next step of the chain are sent, then the result is
stored (by the parent, before it acknowledges); on failure the result is stored, the rest of the chain
fails, error callbacks run.
"""

from __future__ import annotations

import inspect
import logging
import os
import signal
import traceback as traceback_module
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.client.signature import refuse_unsupported, send_signature
from taskyard.context import Request, current
from taskyard.errors import (
    BrokerError,
    Ignore,
    MalformedMessage,
    NotRegistered,
    NotSupported,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    TaskPredicate,
)
from taskyard.execution.job import ACK, MALFORMED, PROGRESS, REJECT, REQUEUE, Job, Outcome
from taskyard.message.codec import content_types, loads
from taskyard.message.protocol import read_body
from taskyard.message.saferepr import safe_repr
from taskyard.result.meta import encode_meta
from taskyard.result.states import FAILURE, RETRY, STARTED, SUCCESS
from taskyard.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskyard.app import App

logger = logging.getLogger("taskyard.task")

#: Characters of a result's repr in the log, as Celery cuts it.
_LOGGED_RESULT = 46


class SoftLimit:
    """Raises SoftTimeLimitExceeded in the task that a signal is meant for, and never outside of one."""

    def __init__(self) -> None:
        self.running: int | None = None

    def exceeded(self, seq: int) -> None:
        """The soft limit of job `seq` has passed; called in the main thread by the signal handler."""
        if self.running == seq:
            self.running = None
            raise SoftTimeLimitExceeded


class Runner:
    """Runs jobs one after the other."""

    def __init__(
        self, app: App, hostname: str, *, store: bool, progress: Callable[[Outcome], None] | None = None
    ) -> None:
        self._app = app
        self._hostname = hostname
        self._store = store
        self._progress = progress
        self._accept = content_types(app.conf.accept_content)
        self._extended = app.conf.result_extended
        self._info = logger.isEnabledFor(logging.INFO)
        self.soft_limit = SoftLimit()

    def run(self, job: Job) -> Outcome:
        """Execute; never raises for anything that a task or a message can do, except SystemExit and
        KeyboardInterrupt.
        """
        began = monotonic()
        try:
            args, kwargs, embed = read_body(
                loads(
                    job.body,
                    job.content_type,
                    job.content_encoding,
                    self._accept,
                    job.headers.get("compression"),
                )
            )
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
        token = current.set((task, request))
        try:
            return self._run_task(job, task, request, began)
        finally:
            self.soft_limit.running = None
            current.reset(token)

    def _run_task(self, job: Job, task: Task[..., Any], request: Request, began: float) -> Outcome:
        embed = request.embed
        try:
            if embed:
                refuse_unsupported(embed)
            if self._progress is not None and self._tracks_start(task, request):
                self._report_start(job, request)
            hooks = task.__class__
            if hooks.before_start is not Task.before_start:
                task.before_start(job.id, request.args, request.kwargs)
            self.soft_limit.running = job.seq
            try:
                value = task.run(*request.args, **request.kwargs)
            finally:
                self.soft_limit.running = None
            if inspect.iscoroutine(value):
                value.close()
                raise NotSupported(f"task {task.name!r} is an async def, which this version does not run yet")
            if embed:
                self._send_next(request, value)
            outcome = self._succeeded(job, task, request, value, began)
        except BaseException as error:  # a task that calls sys.exit() has failed; the process goes on
            outcome = self._raised(job, task, request, error, began)
        return outcome

    def _tracks_start(self, task: Task[..., Any], request: Request) -> bool:
        tracks = task.track_started if task.track_started is not None else self._app.conf.task_track_started
        return bool(tracks) and self._keeps_result(task, request)

    def _report_start(self, job: Job, request: Request) -> None:
        meta = self._meta(job, request, STARTED, {"pid": os.getpid(), "hostname": self._hostname})
        assert self._progress is not None
        self._progress(Outcome(job.seq, PROGRESS, STARTED, [(job.id, meta)], 0.0))

    def _keeps_result(self, task: Task[..., Any] | None, request: Request) -> bool:
        if not self._store:
            return False
        explicit = request.message_headers.get("ignore_result")
        if explicit is None:
            explicit = task.ignore_result if task is not None else None
        return not (self._app.conf.task_ignore_result if explicit is None else explicit)

    def _keeps_error(self, task: Task[..., Any] | None, request: Request) -> bool:
        if self._keeps_result(task, request):
            return True
        own = task.store_errors_even_if_ignored if task is not None else None
        return self._store and bool(self._app.conf.task_store_errors_even_if_ignored if own is None else own)

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

    # -- success
    def _send_next(self, request: Request, value: Any) -> None:
        try:
            self._send_callbacks(request, value)
        except BrokerError as error:
            # Without its successors the task is not done: the message goes back and will run again.
            raise Reject(error, requeue=True) from error

    def _send_callbacks(self, request: Request, value: Any) -> None:
        ids = {"parent_id": request.id, "root_id": request.root_id}
        for callback in request.callbacks or ():
            send_signature(self._app, callback, (value,), confirmed=True, **ids)
        chain = request.chain
        if chain:
            send_signature(self._app, chain[-1], (value,), chain=list(chain[:-1]), confirmed=True, **ids)

    def _succeeded(
        self, job: Job, task: Task[..., Any], request: Request, value: Any, began: float
    ) -> Outcome:
        results = []
        if self._keeps_result(task, request):
            results.append((job.id, self._meta(job, request, SUCCESS, value)))
        hooks = task.__class__
        if hooks.on_success is not Task.on_success:
            self._hook(task.on_success, value, job.id, request.args, request.kwargs)
        self._after_return(task, SUCCESS, value, job, request, None)
        runtime = monotonic() - began
        if self._info:
            logger.info(
                "Task %s[%s] succeeded in %.6fs: %s",
                request.shadow or job.name,
                job.id,
                runtime,
                safe_repr(value, _LOGGED_RESULT),
            )
        return Outcome(job.seq, ACK, SUCCESS, results, runtime)

    # -- everything else
    def _raised(
        self, job: Job, task: Task[..., Any], request: Request, error: BaseException, began: float
    ) -> Outcome:
        if not isinstance(error, TaskPredicate):
            error = self._maybe_autoretry(task, error)
        runtime = monotonic() - began
        name = request.shadow or job.name
        if isinstance(error, Retry):
            if self._info:
                logger.info("Task %s[%s] retry: %s", name, job.id, error)
            return self._retried(job, task, request, error, runtime)
        if isinstance(error, Ignore):
            logger.info("Task %s[%s] ignored", name, job.id)
            return Outcome(job.seq, ACK, "IGNORED", [], runtime)
        if isinstance(error, Reject):
            logger.info("Task %s[%s] rejected: %s", name, job.id, error.reason)
            disposition = REQUEUE if error.requeue else REJECT
            return Outcome(
                job.seq, disposition, "REJECTED", [], runtime, f"rejected by the task: {error.reason}"
            )
        return self._failed(job, task, request, error, runtime)

    def _maybe_autoretry(self, task: Task[..., Any], error: BaseException) -> BaseException:
        """The Retry that the task's options ask for, or the error itself."""
        if not task.autoretry_for or not isinstance(error, task.autoretry_for):
            return error
        if task.dont_autoretry_for and isinstance(error, task.dont_autoretry_for):
            return error
        options = dict(task.retry_kwargs)
        delay = task.retry_delay()
        if delay is not None:
            options["countdown"] = delay
        try:
            return task.retry(exc=error, throw=False, **options)
        except Exception as final:
            return final

    def _retried(
        self, job: Job, task: Task[..., Any], request: Request, error: Retry, runtime: float
    ) -> Outcome:
        text = _traceback_of(error)
        results = []
        if self._keeps_error(task, request):
            results.append((job.id, self._meta(job, request, RETRY, error.exc, text)))
        self._hook(task.on_retry, error.exc, job.id, request.args, request.kwargs, text)
        self._after_return(task, RETRY, error, job, request, text)
        return Outcome(job.seq, ACK, RETRY, results, runtime, str(error))

    def _failed(
        self, job: Job, task: Task[..., Any], request: Request, error: BaseException, runtime: float
    ) -> Outcome:
        text = _traceback_of(error)
        name = request.shadow or job.name
        if task.throws and isinstance(error, task.throws):
            logger.info("Task %s[%s] raised expected: %s", name, job.id, safe_repr(error))
        else:
            logger.error("Task %s[%s] raised unexpected: %s\n%s", name, job.id, safe_repr(error), text)
        results = []
        if self._keeps_error(task, request):
            results.append((job.id, self._error_meta(job, request, error, text)))
        results += self._fail_the_rest(request, error, text)
        self._call_errbacks(request, error, text)
        self._hook(task.on_failure, error, job.id, request.args, request.kwargs, text)
        self._after_return(task, FAILURE, error, job, request, text)
        acks_on_failure = task.acks_on_failure_or_timeout
        if acks_on_failure is None:
            acks_on_failure = self._app.conf.task_acks_on_failure_or_timeout
        return Outcome(
            job.seq, ACK if acks_on_failure else REJECT, FAILURE, results, runtime, safe_repr(error)
        )

    def _error_meta(self, job: Job, request: Request, error: BaseException, text: str | None) -> bytes:
        try:
            return self._meta(job, request, FAILURE, error, text)
        except Exception as second:  # children or extended arguments that have no JSON form
            return encode_meta(job.id, FAILURE, second, traceback=text)

    def _not_registered(self, job: Job, request: Request) -> Outcome:
        logger.error(
            "Received unregistered task %r [%s]; is its module imported? It goes to the dead letters",
            job.name,
            job.id,
        )
        results = []
        if self._keeps_error(None, request):
            results.append((job.id, self._error_meta(job, request, NotRegistered(job.name), None)))
        results += self._fail_the_rest(request, NotRegistered(job.name), None)
        return Outcome(job.seq, REJECT, FAILURE, results, 0.0, f"task {job.name!r} is not registered")

    def _fail_the_rest(
        self, request: Request, error: BaseException, text: str | None
    ) -> list[tuple[str, bytes]]:
        """The steps of the chain that will never run have failed too."""
        if not self._store:
            return []
        failed = []
        for signature in request.chain or ():
            task_id = (signature.get("options") or {}).get("task_id")
            if isinstance(task_id, str):
                failed.append((task_id, encode_meta(task_id, FAILURE, error, traceback=text)))
        return failed

    def _call_errbacks(self, request: Request, error: BaseException, text: str | None) -> None:
        """New style (request, exc, traceback) runs here if the task is registered, old style is sent with
        the task id.
        """
        for errback in request.errbacks or ():
            try:
                task = self._app.tasks.find(errback["task"])
                if task is not None and _takes_more_than_one(task, errback):
                    arguments = [request, error, text, *(errback.get("args") or ())]
                    task(*arguments, **(errback.get("kwargs") or {}))
                else:
                    send_signature(
                        self._app,
                        errback,
                        (request.id,),
                        parent_id=request.id,
                        root_id=request.root_id,
                        confirmed=True,
                    )
            except Exception:
                logger.exception("Error callback %r of task %s failed", errback.get("task"), request.id)

    def _hook(self, hook: Callable[..., Any], *args: Any) -> None:
        try:
            hook(*args)
        except Exception:
            logger.exception("Hook %s failed", getattr(hook, "__qualname__", hook))

    def _after_return(
        self, task: Task[..., Any], state: str, value: Any, job: Job, request: Request, text: str | None
    ) -> None:
        if task.__class__.after_return is not Task.after_return:
            self._hook(task.after_return, state, value, job.id, request.args, request.kwargs, text)


def _takes_more_than_one(task: Task[..., Any], errback: dict[str, Any]) -> bool:
    try:
        signature = inspect.signature(task.run)
    except (TypeError, ValueError):
        return False
    count = 0
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return True
        count += parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    return count - len(errback.get("args") or ()) > 1


def _traceback_of(error: BaseException) -> str:
    """The traceback as text without this module's own frames."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback_module.format_exception(type(error), error, frames))


def install_soft_limit_signal(runner: Runner, seq_of_signal: Callable[[], int]) -> None:
    """Let SIGUSR1 end the running task softly; only the job that the parent meant (`seq_of_signal`)."""

    def on_signal(number: int, frame: Any) -> None:
        runner.soft_limit.exceeded(seq_of_signal())

    signal.signal(signal.SIGUSR1, on_signal)
