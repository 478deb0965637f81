"""What user code in the worker's parent is told of tasks that end by no doing of their own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskyard import signals
from taskyard.context import current
from taskyard.errors import Retry, TimeLimitExceeded
from taskyard.execution.exception_info import ExceptionInfo
from taskyard.result.states import FAILURE, RETRY
from taskyard.task import Task

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.context import Request
    from taskyard.result.store_thread import Verdict

logger = logging.getLogger("taskyard.worker")


def tell(app: App, verdict: Verdict, request: Request | None) -> None:
    """Call the task's hooks and send the signal, as its process would have; after the state was stored."""
    task = app.tasks.find(str(verdict.headers.get("task")))
    if task is None or request is None or verdict.state not in (FAILURE, RETRY):
        return
    try:
        raise verdict.error
    except BaseException as error:
        einfo = ExceptionInfo(error)
    token = current.set((task, request))
    try:
        if verdict.state == RETRY:
            _retried(task, verdict, request, einfo)
        else:
            _failed(task, verdict, request, einfo)
    finally:
        current.reset(token)


def _retried(task: Task[..., Any], verdict: Verdict, request: Request, einfo: ExceptionInfo) -> None:
    error, args, kwargs = verdict.error, request.args, request.kwargs
    _hook(task.on_retry, error, verdict.task_id, args, kwargs, einfo)
    reason = error if isinstance(error, Retry) else Retry(exc=error, when=task.default_retry_delay)
    signals.task_retry.send(sender=task, request=request, reason=reason, einfo=einfo)


def _failed(task: Task[..., Any], verdict: Verdict, request: Request, einfo: ExceptionInfo) -> None:
    error, args, kwargs = verdict.error, request.args, request.kwargs
    if isinstance(error, TimeLimitExceeded):  # as Celery, which calls no hooks for a lost process
        _hook(task.on_failure, error, verdict.task_id, args, kwargs, einfo)
        if type(task).after_return is not Task.after_return:
            _hook(task.after_return, FAILURE, error, verdict.task_id, args, kwargs, einfo)
    signals.task_failure.send(
        sender=task,
        task_id=verdict.task_id,
        exception=error,
        args=args,
        kwargs=kwargs,
        traceback=einfo.tb,
        einfo=einfo,
    )


def _hook(hook: Callable[..., Any], *arguments: Any) -> None:
    try:
        hook(*arguments)
    except Exception:
        logger.exception("Hook %s failed", getattr(hook, "__qualname__", hook))
