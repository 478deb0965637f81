"""Commands about tasks and their events."""

from __future__ import annotations

import logging
import signal as signals
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from taskyard.control.revocations import stamps_of
from taskyard.events.rates import rate
from taskyard.worker.remote.panel import control_command, nok, ok

if TYPE_CHECKING:
    from taskyard.worker.remote.view import WorkerView

logger = logging.getLogger("taskyard.worker")


def signal_number(name: Any) -> int:
    """The number of a signal: "KILL", "SIGKILL", 9 or "9"; ValueError for what is none."""
    if name is None:
        return signals.SIGTERM
    text = str(name)
    if text.isdigit():
        return signals.Signals(int(text))
    short = text.upper().removeprefix("SIG")
    try:
        return signals.Signals[f"SIG{short}"]
    except KeyError:
        raise ValueError(f"there is no signal {name!r}") from None


@control_command(variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(
    state: WorkerView,
    task_id: str | Iterable[str],
    terminate: bool = False,
    signal: Any = None,
    **kwargs: Any,
) -> Any:
    """Revoke task by task id (or list of ids)."""
    ids = {task_id} if isinstance(task_id, str) else {str(each) for each in task_id or ()}
    number = signal_number(signal) if terminate else 0
    state.remote.revoke(sorted(ids), everywhere=state.everywhere)
    if not terminate:
        logger.info("Tasks flagged as revoked: %s", ", ".join(sorted(ids)))
        return ok(f"tasks {ids} flagged as revoked")
    ended = state.worker.consumer.terminate(lambda held: held.envelope.id in ids, number)
    if not ended:
        return ok("terminate: tasks unknown")
    return ok(f"terminate: {', '.join(ended)}")


@control_command(variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 [... [idN]]]]")
def terminate(state: WorkerView, signal: Any, task_id: str | Iterable[str], **kwargs: Any) -> Any:
    """Terminate task by task id (or list of ids)."""
    return revoke(state, task_id, terminate=True, signal=signal)


@control_command(variadic="headers", signature="[key1=value1 [key2=value2 [... [keyN=valueN]]]]")
def revoke_by_stamped_headers(
    state: WorkerView, headers: Any, terminate: bool = False, signal: Any = None, **kwargs: Any
) -> Any:
    """Revoke task by header (or list of headers)."""
    if isinstance(headers, list):
        if not all("=" in each for each in headers):
            raise ValueError(f"stamps are given as header=stamp, not {headers!r}")
        headers = dict(each.split("=", 1) for each in headers)
    number = signal_number(signal)
    state.remote.revoke_stamps(headers, everywhere=state.everywhere)
    if not terminate:
        return ok(f"headers {headers} flagged as revoked, but not terminated")
    wanted = set(stamps_of(headers))
    matched: dict[str, set[str]] = {}

    def is_meant(held: Any) -> bool:
        own = held.delivery.headers.get("stamps")
        found = wanted.intersection(stamps_of(own)) if isinstance(own, dict) else set()
        for header, stamp in found:
            matched.setdefault(header, set()).add(stamp)
        return bool(found)

    if not state.worker.consumer.terminate(is_meant, number):
        return ok(f"headers {headers} were not terminated")
    return ok(f"headers {matched} revoked")


@control_command(
    args=[("task_name", str), ("rate_limit", str)],
    signature="<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>",
)
def rate_limit(state: WorkerView, task_name: str, rate_limit: Any, **kwargs: Any) -> Any:
    """Tell worker(s) to modify the rate limit for a task by type."""
    try:
        rate(rate_limit)
    except ValueError as error:
        return nok(f"Invalid rate limit string: {error!r}")
    task = state.app.tasks.find(task_name)
    if task is None:
        logger.error("Rate limit attempt for unknown task %s", task_name)
        return nok("unknown task")
    task.rate_limit = rate_limit or None
    state.worker.consumer.change_rate(task_name, rate_limit)
    if not rate_limit:
        logger.info("Rate limits disabled for tasks of type %s", task_name)
        return ok("rate limit disabled successfully")
    logger.info("New rate limit for tasks of type %s: %s.", task_name, rate_limit)
    return ok("new rate limit set successfully")


@control_command(
    args=[("task_name", str), ("soft", float), ("hard", float)],
    signature="<task_name> <soft_secs> [hard_secs]",
)
def time_limit(
    state: WorkerView,
    task_name: str | None = None,
    hard: float | None = None,
    soft: float | None = None,
    **kwargs: Any,
) -> Any:
    """Tell worker(s) to modify the time limit for task by type."""
    task = state.app.tasks.find(task_name or "")
    if task is None:
        logger.error("Change time limit attempt for unknown task %s", task_name)
        return nok("unknown task")
    task.soft_time_limit, task.time_limit = soft, hard
    logger.info("New time limits for tasks of type %s: soft=%s hard=%s", task_name, soft, hard)
    return ok("time limits set successfully")


@control_command()
def enable_events(state: WorkerView) -> Any:
    """Tell worker(s) to send task-related events."""
    if state.remote.eventer.enable():
        state.remote.eventer.probe()
        logger.info("Events of group {task} enabled by remote.")
        return ok("task events enabled")
    return ok("task events already enabled")


@control_command()
def disable_events(state: WorkerView) -> Any:
    """Tell worker(s) to stop sending task-related events."""
    if state.remote.eventer.disable():
        logger.info("Events of group {task} disabled by remote.")
        return ok("task events disabled")
    return ok("task events already disabled")


@control_command()
def heartbeat(state: WorkerView) -> Any:
    """Tell worker(s) to send event heartbeat immediately."""
    state.remote.heartbeat()


@control_command()
def election(state: WorkerView, id: str, topic: str, action: Any = None, **kwargs: Any) -> Any:
    """Hold election (there is no gossip among our workers: nobody is elected)."""
    logger.warning("Election %s (%s): nobody is elected, there is no gossip among these workers", id, topic)
    return nok("there is no gossip among these workers: nobody is elected")
