"""What the worker is doing: its phase and the counts that /state and /metrics show."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic


class Phase(StrEnum):
    """Where the worker is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    DRAINED = "drained"
    STOPPING = "stopping"


@dataclass(slots=True)
class State:
    """Written by the loop's thread only; others read single values."""

    node: str
    slots: int
    queues: list[str]
    phase: Phase = Phase.STARTING
    consuming: bool = False
    broker_connected: bool = False
    #: Why the worker is not ready; "" if it is.
    not_ready: str = "starting"
    held: int = 0
    started: int = 0
    finished: int = 0
    failed: int = 0
    #: Messages that were no task messages.
    malformed: int = 0
    #: Deliveries given back to the broker before they began.
    given_back: int = 0
    #: Processes lost in mid-task.
    lost: int = 0
    #: Outcomes by state, for the metrics.
    by_state: dict[str, int] = field(default_factory=dict)
    #: Tasks begun, by name.
    accepted: dict[str, int] = field(default_factory=dict)
    busy_seconds: float = 0.0
    born: float = field(default_factory=monotonic)

    def count(self, state: str, seconds: float) -> None:
        """A task ended in that state after so many seconds."""
        self.finished += 1
        self.busy_seconds += seconds
        self.by_state[state] = self.by_state.get(state, 0) + 1
        if state == "FAILURE":
            self.failed += 1
