"""Commands that only look."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from taskyard.settings.truth import TRUTH
from taskyard.worker.remote.panel import inspect_command, ok

if TYPE_CHECKING:
    from taskyard.worker.remote.view import WorkerView

logger = logging.getLogger("taskyard.worker")

#: Attributes of a task that `registered` shows by default.
_TASK_INFO = ("exchange", "routing_key", "rate_limit")
#: Celery's own number for what has an ETA.
_ETA_PRIORITY = 6


def truth(text: Any) -> bool:
    """A yes or no of the command line; TypeError for anything else."""
    if not isinstance(text, str):
        return bool(text)
    meant = TRUTH.get(text.strip().lower())
    if meant is None:
        raise TypeError(f"{text!r} is neither true nor false")
    return meant


@inspect_command(default_timeout=0.2)
def ping(state: WorkerView, **kwargs: Any) -> Any:
    """Ping worker(s)."""
    return ok("pong")


@inspect_command()
def clock(state: WorkerView, **kwargs: Any) -> Any:
    """Get current logical clock value."""
    return {"clock": state.app.clock.value}


@inspect_command()
def report(state: WorkerView) -> Any:
    """Information about the installation, for bug reports."""
    return ok(state.app.bugreport())


@inspect_command(alias="dump_conf", signature="[include_defaults=False]", args=[("with_defaults", truth)])
def conf(state: WorkerView, with_defaults: bool = False, **kwargs: Any) -> Any:
    """List configuration."""
    table = state.app.conf.table(with_defaults=with_defaults)
    return {name: jsonable(value) for name, value in table.items() if not str(name).startswith("__")}


def jsonable(value: Any) -> Any:
    """The value, with text in place of what JSON has no form for."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, dict):
        return {str(name): jsonable(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(each) for each in value]
    return repr(value)


@inspect_command(variadic="ids", signature="[id1 [id2 [... [idN]]]]")
def query_task(state: WorkerView, ids: str | Iterable[str], **kwargs: Any) -> Any:
    """Query for task information by id."""
    wanted = [ids] if isinstance(ids, str) else ids
    return {request.id: (where, request.info()) for where, request in state.find(wanted)}


@inspect_command(alias="dump_active")
def active(state: WorkerView, safe: bool | None = False, **kwargs: Any) -> Any:
    """List of tasks currently being executed."""
    return [request.info(safe=bool(safe)) for request in state.active()]


@inspect_command(alias="dump_reserved")
def reserved(state: WorkerView, **kwargs: Any) -> Any:
    """List of currently reserved tasks, not including scheduled/active."""
    return [request.info() for request in state.reserved()]


@inspect_command(alias="dump_schedule")
def scheduled(state: WorkerView, **kwargs: Any) -> Any:
    """List of currently scheduled ETA/countdown tasks."""
    return [
        {
            "eta": request.eta.isoformat() if request.eta else None,
            "priority": _ETA_PRIORITY,
            "request": request.info(),
        }
        for request in state.scheduled()
    ]


@inspect_command(alias="dump_revoked")
def revoked(state: WorkerView, **kwargs: Any) -> Any:
    """List of revoked task-ids."""
    return state.remote.revoked.ids()


@inspect_command(visible=False)
def hello(state: WorkerView, from_node: str, revoked: Any = None, **kwargs: Any) -> Any:
    """What a worker that starts asks of the others."""
    if from_node == state.hostname:
        return None
    logger.info("sync with %s", from_node)
    if revoked:
        state.remote.revoked.add(str(each) for each in revoked)
    return {"revoked": state.remote.revoked.ids(), "clock": state.app.clock.forward()}


@inspect_command(alias="dump_tasks", variadic="taskinfoitems", signature="[attr1 [attr2 [... [attrN]]]]")
def registered(
    state: WorkerView, taskinfoitems: Iterable[str] | None = None, builtins: bool = False, **kwargs: Any
) -> Any:
    """List of registered tasks."""
    items = [each for each in taskinfoitems or _TASK_INFO if isinstance(each, str) and each[:1] != "_"]
    names = sorted(name for name in state.app.tasks if builtins or not name.startswith("celery."))
    return [_described(state.app.tasks[name], items) for name in names]


def _described(task: Any, items: list[str]) -> str:
    values = {item: getattr(task, item, None) for item in items}
    shown = " ".join(f"{item}={value}" for item, value in values.items() if value is not None)
    return f"{task.name} [{shown}]" if shown else str(task.name)


@inspect_command()
def stats(state: WorkerView, **kwargs: Any) -> Any:
    """Request worker statistics/information."""
    return state.stats()


@inspect_command()
def active_queues(state: WorkerView) -> Any:
    """List the task queues a worker is currently consuming from."""
    return state.remote.queues.active()
