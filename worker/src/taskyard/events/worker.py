"""Worker: what the events of one worker tell of it."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from decimal import Decimal
from time import time
from typing import Any, ClassVar

#: A worker is dead when its heartbeat is overdue by this many percent of its interval.
HEARTBEAT_EXPIRE_WINDOW = 200
#: Seconds that a worker's clock may differ from ours before we warn.
HEARTBEAT_DRIFT_MAX = 16


def heartbeat_expires(
    timestamp: float | Decimal, freq: float | Decimal = 60, expire_window: float = HEARTBEAT_EXPIRE_WINDOW
) -> float:
    """When a worker whose last heartbeat was at `timestamp` counts as dead."""
    return float(timestamp) + float(freq) * (expire_window / 100)


class Worker:
    """What is known of one worker."""

    #: Heartbeats that are remembered.
    heartbeat_max = 4
    expire_window = HEARTBEAT_EXPIRE_WINDOW

    _fields: ClassVar[tuple[str, ...]] = (
        "hostname",
        "pid",
        "freq",
        "heartbeats",
        "clock",
        "active",
        "processed",
        "loadavg",
        "sw_ident",
        "sw_ver",
        "sw_sys",
    )

    def __init__(
        self,
        hostname: str | None = None,
        pid: int | None = None,
        freq: float = 60,
        heartbeats: list[float] | None = None,
        clock: int = 0,
        active: int | None = None,
        processed: int | None = None,
        loadavg: list[float] | None = None,
        sw_ident: str | None = None,
        sw_ver: str | None = None,
        sw_sys: str | None = None,
    ) -> None:
        self.hostname = hostname
        self.pid = pid
        self.freq = freq
        self.heartbeats = [] if heartbeats is None else heartbeats
        self.clock = clock or 0
        self.active = active
        self.processed = processed
        self.loadavg = loadavg
        self.sw_ident = sw_ident
        self.sw_ver = sw_ver
        self.sw_sys = sw_sys

    def __eq__(self, other: object) -> bool:
        return self.hostname == other.hostname if isinstance(other, Worker) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hostname)

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname} ({self.status_string} clock:{self.clock})"

    def __reduce__(self) -> Any:
        return self.__class__, tuple(getattr(self, name) for name in self._fields)

    def event(
        self,
        type_: str | None,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: Mapping[str, Any] | None = None,
        max_drift: float = HEARTBEAT_DRIFT_MAX,
    ) -> None:
        """Something was heard of the worker: a sign of life, unless it says that it goes away."""
        if fields:
            self.__dict__.update(fields)
        if type_ == "offline":
            self.heartbeats[:] = []
            return
        if not local_received or not timestamp:
            return
        drift = abs(int(local_received) - int(timestamp))
        if drift > max_drift:
            from taskyard.events.state import warn_of_drift  # which imports this module

            warn_of_drift(self.hostname, drift, local_received, timestamp)
        if len(self.heartbeats) >= self.heartbeat_max:
            del self.heartbeats[0]
        insort(self.heartbeats, local_received)

    def update(self, f: Mapping[str, Any], **kw: Any) -> None:
        """Set attributes."""
        for name, value in {**f, **kw}.items():
            setattr(self, name, value)

    @property
    def status_string(self) -> str:
        """ONLINE or OFFLINE."""
        return "ONLINE" if self.alive else "OFFLINE"

    @property
    def heartbeat_expires(self) -> float:
        """When it counts as dead without another heartbeat."""
        return heartbeat_expires(self.heartbeats[-1], self.freq, self.expire_window)

    @property
    def alive(self) -> bool:
        """Whether its last heartbeat is not overdue."""
        return bool(self.heartbeats) and time() < self.heartbeat_expires

    @property
    def id(self) -> str:
        """Name and process."""
        return f"{self.hostname}.{self.pid}"
