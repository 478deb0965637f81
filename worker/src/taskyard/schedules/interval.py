"""Every so many seconds, from the last run or on the clock's own marks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from taskyard.schedules.base import BaseSchedule, Now, schedstate
from taskyard.schedules.wall_time import DAY, HOUR, MINUTE, first_boundary, last_boundary, moments, wall

_UNITS = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))


class schedule(BaseSchedule):  # noqa: N801  Celery's name
    """Every `run_every` (seconds or timedelta) after the last run.

    With `relative` runs are at the clock's full days, hours, minutes or seconds, whichever is the greatest
    that the interval holds; days are then the calendar's, also where one has 23 or 25 hours.
    """

    relative: bool = False

    def __init__(
        self,
        run_every: float | timedelta | None = None,
        relative: bool = False,
        nowfun: Now | None = None,
        app: Any = None,
    ) -> None:
        if isinstance(run_every, (int, float)):
            run_every = timedelta(seconds=run_every)
        self.run_every: Any = run_every
        self.relative = relative
        super().__init__(nowfun=nowfun, app=app)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """How long until the next run; negative when it is overdue."""
        start = self.maybe_make_aware(last_run_at)
        now = self.maybe_make_aware(self.now()).astimezone(UTC)
        if not self.relative:
            due: datetime = start.astimezone(UTC) + self.run_every
            return due - now
        zone = start.tzinfo
        assert zone is not None
        return mark_after(start, self.run_every, zone) - now

    def is_due(self, last_run_at: datetime) -> tuple[bool, float]:
        """Whether to run now, and after how many seconds to ask again."""
        last_run_at = self.maybe_make_aware(last_run_at)
        left = self.remaining_estimate(last_run_at).total_seconds()
        if left > 0:
            return schedstate(False, left)
        pause = self.seconds
        if self.relative:
            # A late run must not shift the next one away from its mark.
            now = self.maybe_make_aware(self.now()).astimezone(last_run_at.tzinfo)
            until_mark = self.remaining_estimate(now).total_seconds()
            pause = until_mark if until_mark > 0 else pause
        return schedstate(True, pause)

    @property
    def seconds(self) -> float:
        """The interval in seconds, never negative."""
        return max(float(self.run_every.total_seconds()), 0.0)

    @property
    def human_seconds(self) -> str:
        """The interval for people, such as `1.50 minutes`."""
        seconds = round(self.seconds, 2)
        for name, size in _UNITS:
            if seconds >= size:
                count = seconds / size
                return f"{count:.2f} {name}{'' if count == 1 else 's'}"
        return "now"

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"

    def __eq__(self, other: object) -> bool:
        return bool(self.run_every == (other.run_every if isinstance(other, schedule) else other))

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.run_every, self.relative, self.nowfun)


def mark_after(start: datetime, interval: timedelta, zone: tzinfo) -> datetime:
    """The clock's mark (UTC) at which the run after one at `start` is due."""
    begin = start.astimezone(UTC)
    if interval >= DAY:
        day = (wall(start, zone) + interval).replace(hour=0, minute=0, second=0, microsecond=0)
        later = [moment for moment in moments(day, zone) if moment > begin]
        return later[0] if later else begin + interval
    end = begin + interval
    if interval < MINUTE:
        return end.replace(microsecond=0)
    unit = HOUR if interval >= HOUR else MINUTE
    mark = last_boundary(end, unit, zone)
    return mark if mark > begin else first_boundary(begin, unit, zone)


def maybe_schedule(every: Any, relative: bool = False, app: Any = None) -> Any:
    """A schedule from seconds, a timedelta, or a schedule, which gets the app; None stays None."""
    if every is None:
        return None
    if isinstance(every, (int, float, timedelta)):
        return schedule(every, relative, app=app)
    every.app = app
    return every
