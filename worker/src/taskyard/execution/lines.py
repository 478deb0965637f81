"""The log lines of a task's life.

Their formats stand in the module of tracing, where programs change them by Celery's name
(`celery.app.trace.LOG_SUCCESS = "..."`); what they can name goes with each record as `record.data`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from taskyard.execution import tracing
from taskyard.message.saferepr import safe_repr

if TYPE_CHECKING:
    from taskyard.context import Request
    from taskyard.execution.job import Job

logger = logging.getLogger("taskyard.trace")


def received(log: logging.Logger, task_id: str, name: str, headers: dict[str, Any]) -> None:
    """The worker has taken the message."""
    data = {"id": task_id, "name": headers.get("shadow") or name, "eta": headers.get("eta")}
    data["args"], data["kwargs"] = headers.get("argsrepr"), headers.get("kwargsrepr")
    log.info(tracing.LOG_RECEIVED, data, extra={"data": data})


def succeeded(job: Job, request: Request, runtime: float, shown: str) -> None:
    """The task has returned."""
    _write(logging.INFO, tracing.LOG_SUCCESS, job, request, return_value=shown, runtime=runtime)


def failed(job: Job, request: Request, error: BaseException, traceback: str, *, expected: bool) -> None:
    """The task has raised; what it may raise (Task.throws) is one line."""
    data = {"exc": safe_repr(error), "traceback": traceback, "internal": False}
    if expected:
        _write(logging.INFO, tracing.LOG_FAILURE, job, request, description="raised expected", **data)
    else:
        text = f"{tracing.LOG_FAILURE}\n%(traceback)s"
        _write(logging.ERROR, text, job, request, description="raised unexpected", **data)


def unrecorded(job: Job, request: Request, error: BaseException, traceback: str) -> None:
    """What became of the task could not be recorded."""
    data = {"exc": safe_repr(error), "traceback": traceback, "internal": True}
    text = f"{tracing.LOG_INTERNAL_ERROR}\n%(traceback)s"
    _write(logging.CRITICAL, text, job, request, description="INTERNAL ERROR", **data)


def retried(job: Job, request: Request, error: BaseException) -> None:
    """The task will be tried again."""
    _write(logging.INFO, tracing.LOG_RETRY, job, request, exc=error)


def ignored(job: Job, request: Request) -> None:
    """The task wants no state."""
    _write(logging.INFO, tracing.LOG_IGNORED, job, request, description="ignored")


def rejected(job: Job, request: Request, reason: object) -> None:
    """The task has refused its message."""
    _write(logging.INFO, tracing.LOG_REJECTED, job, request, exc=reason)


def _write(level: int, text: str, job: Job, request: Request, **more: Any) -> None:
    if not logger.isEnabledFor(level):
        return
    headers = request.message_headers
    data = {
        "id": job.id,
        "name": request.shadow or job.name,
        "hostname": request.hostname,
        "args": headers.get("argsrepr") or safe_repr(request.args),
        "kwargs": headers.get("kwargsrepr") or safe_repr(request.kwargs),
        **more,
    }
    logger.log(level, text, data, extra={"data": data})
