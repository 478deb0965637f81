"""Options: what the command line, the environment and the settings decided for one worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from taskyard.errors import ImproperlyConfigured


@dataclass(slots=True, frozen=True)
class Options:
    """What one worker is to do."""

    queues: tuple[str, ...]
    #: How many tasks at the same time.
    concurrency: int
    #: A pool's name or module:Class, or the class.
    pool: str | type[Any] = "prefork"
    nodename: str | None = None
    #: host:port of the health endpoint; None for none.
    http: str | None = None
    prefetch_multiplier: int = 1
    max_tasks_per_child: int | None = None
    #: KiB
    max_memory_per_child: int | None = None
    #: Seconds.
    time_limit: float | None = None
    soft_time_limit: float | None = None
    #: Seconds that a warm shutdown may take; None for no end.
    grace_seconds: float | None = None
    #: The most and the fewest tasks at the same time, where that follows the load.
    autoscale: tuple[int, int] | None = None
    #: Child processes of pools whose children run many tasks at the same time.
    processes: int = 1
    #: fork or spawn; None as the settings say.
    start_method: str | None = None
    #: Throw away what waits in the queues before beginning.
    purge: bool = False
    #: Send task events even while nobody is known to listen; None as the settings say.
    task_events: bool | None = None
    #: Send no heartbeats as events.
    without_heartbeat: bool = False
    #: Seconds between heartbeats; None for the default.
    heartbeat_interval: float | None = None
    #: File that keeps revocations over a restart.
    statedb: str | None = None
    #: The app as module:attribute and further modules, for new interpreters.
    app: str = ""
    imports: tuple[str, ...] = ()
    #: Arguments of setup_logging, for new interpreters.
    log: dict[str, Any] | None = None
    #: The app's own options (app.user_options), by name.
    user: dict[str, Any] = field(default_factory=dict)
    #: Makes the scheduler that runs beside the pool (-B).
    scheduler: Callable[[], Any] | None = None


def grace_from_environment() -> float | None:
    """TASKYARD_GRACE_SECONDS, None without it."""
    text = os.environ.get("TASKYARD_GRACE_SECONDS")
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        raise ImproperlyConfigured(
            f"TASKYARD_GRACE_SECONDS must be a number of seconds, not {text!r}"
        ) from None
