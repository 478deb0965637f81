"""Rate limits of this worker by task name: `rate_limit` of the task, or as remote control changed it.

A task over its rate is parked until its turn; its place is booked when it arrives, so tasks of one name keep
their order.  Only a few are parked: the others go back into the broker until about their turn, so that a
crowd of limited tasks keeps no other task from being fetched.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Any

from taskyard.errors import ImproperlyConfigured
from taskyard.events.rates import rate

#: The most tasks of one name that are parked here.
MOST_PARKED = 32
#: The longest time, seconds, that one is sent away for: the rate may be changed meanwhile.
_LONGEST_AWAY = 300.0


class _Gauge:
    """One task's rate: one at once, the next after an interval."""

    __slots__ = ("away", "interval", "next_at", "parked")

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.next_at = 0.0
        self.parked = 0
        #: How many were sent away since one had to be.
        self.away = 0


class RateLimits:
    """Books places; true while any task is limited."""

    def __init__(self) -> None:
        #: By name of the limited tasks.
        self.gauges: dict[str, _Gauge] = {}

    def __bool__(self) -> bool:
        return bool(self.gauges)

    def __contains__(self, name: object) -> bool:
        return name in self.gauges

    def set(self, name: str, limit: Any) -> None:
        """A rate such as "10/m"; nothing or 0 for no limit.  ValueError for what is no rate."""
        per_second = rate(limit)
        if per_second:
            self.gauges[name] = _Gauge(1 / per_second)
        else:
            self.gauges.pop(name, None)

    def set_all(self, tasks: Iterable[Any], default: Any) -> None:
        """The rates of all tasks; ImproperlyConfigured for what is no rate."""
        for task in tasks:
            own = getattr(task, "rate_limit", None)
            try:
                self.set(task.name, default if own is None else own)
            except ValueError as error:
                raise ImproperlyConfigured(f"task {task.name!r}: {error}") from None

    def book(self, name: str) -> float | None:
        """Seconds until a task of that name may begin; None if it should come back later (see `away`)."""
        gauge = self.gauges.get(name)
        if gauge is None:
            return 0.0
        now = monotonic()
        if gauge.next_at <= now:
            gauge.next_at = now + gauge.interval
            gauge.away = 0
            return 0.0
        if gauge.parked >= MOST_PARKED:
            return None
        wait = gauge.next_at - now
        gauge.next_at += gauge.interval
        gauge.parked += 1
        return wait

    def away(self, name: str) -> float:
        """Seconds after which a task that found no place should come back."""
        gauge = self.gauges[name]
        gauge.away += 1
        wait = gauge.next_at - monotonic() + gauge.away * gauge.interval
        return min(max(wait, 2.0), _LONGEST_AWAY)

    def left(self, name: str) -> None:
        """One that was parked is not parked any more."""
        gauge = self.gauges.get(name)
        if gauge is not None and gauge.parked:
            gauge.parked -= 1

    def forget_places(self) -> None:
        """All that were parked have gone back."""
        for gauge in self.gauges.values():
            gauge.parked = gauge.away = 0
            gauge.next_at = 0.0
