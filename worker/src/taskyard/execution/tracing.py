"""What programs patch under Celery's name `celery.app.trace`: the function that runs a task's messages, and
the formats of the log lines about them.

Sentry puts its own `build_tracer` in the place of this one, and wraps the function that it returns. As long
as nobody does, no message passes through here.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskyard import signals
from taskyard.task import Task

if TYPE_CHECKING:
    from taskyard.execution.job import Job, Outcome

logger = logging.getLogger(__name__)

#: The log lines of tasks; programs may put others in their place.
LOG_RECEIVED = "Task %(name)s[%(id)s] received"
LOG_SUCCESS = "Task %(name)s[%(id)s] succeeded in %(runtime).6fs: %(return_value)s"
LOG_FAILURE = "Task %(name)s[%(id)s] %(description)s: %(exc)s"
LOG_INTERNAL_ERROR = "Task %(name)s[%(id)s] %(description)s: %(exc)s"
LOG_IGNORED = "Task %(name)s[%(id)s] %(description)s"
LOG_REJECTED = "Task %(name)s[%(id)s] rejected: %(exc)s"
LOG_RETRY = "Task %(name)s[%(id)s] retry: %(exc)s"

#: Seconds that a child waits at its end for what Sentry has not sent yet.
_FLUSH_SECONDS = 2.0


def build_tracer(
    name: str, task: Task[..., Any], *, run: Callable[[], Outcome], **_: Any
) -> Callable[..., Outcome]:
    """The function that runs one message of the task: (id, args, kwargs, request)."""

    def trace_task(uuid: str, args: Any, kwargs: Any, request: dict[str, Any] | None = None) -> Outcome:
        return run()

    return trace_task


plain = build_tracer


def task_has_custom(task: Task[..., Any], attribute: str) -> bool:
    """Whether the task's class has an attribute of its own (Celery's name for the question)."""
    return getattr(type(task), attribute) is not getattr(Task, attribute)


def traced(job: Job, task: Task[..., Any], args: Any, kwargs: Any, run: Callable[[], Outcome]) -> Outcome:
    """Run the job the way the tracers want it; a tracer that fails does not keep it from running."""
    if "sentry_sdk" in sys.modules:
        signals.worker_process_shutdown.connect(_flush_sentry, weak=False, dispatch_uid="taskyard.sentry")
    outcome: list[Outcome] = []

    def once() -> Outcome:
        outcome.append(run())
        return outcome[0]

    try:
        build_tracer(job.name, task, app=task.app, run=once)(job.id, args, kwargs, dict(job.headers))
    except Exception:
        logger.exception("The tracer of task %s[%s] failed", job.name, job.id)
    return outcome[0] if outcome else run()


def _flush_sentry(**_: Any) -> None:
    """A child ends without running exit handlers: they are its parent's."""
    sys.modules["sentry_sdk"].flush(_FLUSH_SECONDS)
