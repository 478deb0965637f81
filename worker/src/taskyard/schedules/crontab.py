"""At times of the clock and the calendar, as cron has them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

from taskyard.schedules.base import BaseSchedule, Now, schedstate
from taskyard.schedules.cron_fields import expand
from taskyard.schedules.wall_time import DAY, MINUTE, transition, wall
from taskyard.zones import zone_of

_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
#: Years after which a date that occurs at all has occurred: the 29th of February on a given day of the week
#: can be 40 years away.
_HORIZON = 41


class crontab(BaseSchedule):  # noqa: N801  Celery's name
    """Each field is a number, an iterable of numbers, or text: `*`, `*/15`, `1-5,30`, `mon-fri`, `feb`.

    A day must fit `day_of_week` (0 is Sunday) and `day_of_month` and `month_of_year`, all three.  Where the
    clock is put forward, a run at a time that is left out happens as much later; where it is put back, runs
    at the repeated times happen once, except in a schedule for every hour, which goes on in both.
    """

    def __init__(
        self,
        minute: Any = "*",
        hour: Any = "*",
        day_of_week: Any = "*",
        day_of_month: Any = "*",
        month_of_year: Any = "*",
        *,
        nowfun: Now | None = None,
        app: Any = None,
    ) -> None:
        fields = [minute, hour, day_of_week, day_of_month, month_of_year]
        # An iterator can be read only once, and the fields are kept for those who store or pickle them.
        fields = ["*" if each is None else each for each in fields]
        fields = [each if isinstance(each, (int, str)) else _kept(each) for each in fields]
        (
            self._orig_minute,
            self._orig_hour,
            self._orig_day_of_week,
            self._orig_day_of_month,
            self._orig_month_of_year,
        ) = fields
        self.minute = self._expand_cronspec(fields[0], 60)
        self.hour = self._expand_cronspec(fields[1], 24)
        self.day_of_week = self._expand_cronspec(fields[2], 7)
        self.day_of_month = self._expand_cronspec(fields[3], 31, 1)
        self.month_of_year = self._expand_cronspec(fields[4], 12, 1)
        if not any(
            day <= _LONGEST_MONTHS[month - 1] for month in self.month_of_year for day in self.day_of_month
        ):
            raise ValueError(
                f"Invalid crontab: day_of_month {self._orig_day_of_month!r} never occurs in "
                f"month_of_year {self._orig_month_of_year!r}."
            )
        super().__init__(nowfun=nowfun, app=app)

    _expand_cronspec = staticmethod(expand)

    @classmethod
    def from_string(cls, crontab: str) -> crontab:
        """From cron's own order, with blanks between: minute, hour, day of month, month, day of week."""
        minute, hour, day_of_month, month_of_year, day_of_week = crontab.split()
        return cls(minute, hour, day_of_week, day_of_month, month_of_year)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """How long until the run after `last_run_at`; negative when it is overdue."""
        zone = self.tz
        last = self.maybe_make_aware(last_run_at)
        return self.next_after(last, zone) - self.maybe_make_aware(self.now()).astimezone(UTC)

    def is_due(self, last_run_at: datetime) -> tuple[bool, float]:
        """Whether to run now, and the seconds until the run after now.

        A run that was missed is made up for, unless the setting beat_cron_starting_deadline (seconds) has
        passed since.
        """
        left = self.remaining_estimate(last_run_at).total_seconds()
        due = left <= 0
        if not due:
            return schedstate(False, left)
        deadline = self.app.conf.beat_cron_starting_deadline
        if deadline is not None and left < 0:
            now = self.maybe_make_aware(self.now()).astimezone(UTC)
            since = now - timedelta(seconds=deadline, microseconds=1)
            due = self.next_after(since, self.tz) <= now
        return schedstate(due, max(self.remaining_estimate(self.now()).total_seconds(), 0))

    def remaining_delta(
        self, last_run_at: datetime, tz: str | tzinfo | None = None, ffwd: Any = None
    ) -> tuple[datetime, Any, datetime]:
        """The last run, what added to it gives the next one on the wall clock, and now, in the zone `tz`.

        `ffwd` makes the addend from the fields year to microsecond (dateutil's relativedelta can).
        """
        zone = zone_of(tz) if tz else self.tz
        last = self.maybe_make_aware(last_run_at).astimezone(zone)
        then = self.next_after(last, zone).astimezone(zone)
        names = ("year", "month", "day", "hour", "minute", "second", "microsecond")
        addend = (ffwd or Forward)(**{name: getattr(then, name) for name in names})
        return last, addend, self.maybe_make_aware(self.now()).astimezone(zone)

    def next_after(self, last: datetime, zone: tzinfo) -> datetime:
        """The moment (UTC) of the first run after the moment `last`, with the fields read in the zone."""
        last = last.astimezone(UTC)
        shown = wall(last, zone)
        guess = self._next_time(shown)
        direct = last + (guess - shown)  # right if the offset does not change until then
        change = transition(last - DAY, direct, zone)
        if change is None:
            return direct
        old_end, new_begin = wall(change - MINUTE, zone) + MINUTE, wall(change, zone)
        found = []
        if last < change:
            found.append(change + (guess - old_end) if guess < old_end else None)
        repeated_anyway = len(self.hour) == 24
        if new_begin > old_end:
            # Times that were left out, each as much later as the clock was put forward.
            skipped = self._next_time(
                max(shown if last < change else old_end + (last - change), old_end - MINUTE)
            )
            found.append(change + (skipped - old_end) if skipped < new_begin else None)
        begin = new_begin if repeated_anyway else max(new_begin, old_end)
        after = self._next_time(max(shown, begin - MINUTE) if last >= change else begin - MINUTE)
        found.append(change + (after - new_begin))
        later = [moment for moment in found if moment is not None and moment > last]
        return min(later)

    def _next_time(self, after: datetime) -> datetime:
        """The first matching time of the wall clock in a later minute, with no regard to the zone."""
        day = after.date()
        if self._fits(day):
            today = self._time_after(after.time())
            if today is not None:
                return datetime.combine(day, today)
        first = time(min(self.hour), min(self.minute))
        return datetime.combine(self._day_after(day), first)

    def _time_after(self, after: time) -> time | None:
        if after.hour in self.hour:
            minute = _above(self.minute, after.minute)
            if minute is not None:
                return time(after.hour, minute)
        hour = _above(self.hour, after.hour)
        return None if hour is None else time(hour, min(self.minute))

    def _day_after(self, day: date) -> date:
        months, days = sorted(self.month_of_year), sorted(self.day_of_month)
        for year in range(day.year, day.year + _HORIZON):
            for month in months:
                if (year, month) < (day.year, day.month):
                    continue
                for number in days:
                    try:
                        found = date(year, month, number)
                    except ValueError:  # the 30th of February
                        break
                    if found > day and found.isoweekday() % 7 in self.day_of_week:
                        return found
        raise RuntimeError(f"{self!r} never occurs")

    def _fits(self, day: date) -> bool:
        return (
            day.month in self.month_of_year
            and day.day in self.day_of_month
            and day.isoweekday() % 7 in self.day_of_week
        )

    def __repr__(self) -> str:
        return (
            f"<crontab: {self._orig_minute} {self._orig_hour} {self._orig_day_of_month} "
            f"{self._orig_month_of_year} {self._orig_day_of_week} (m/h/dM/MY/d)>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (
            self._orig_minute,
            self._orig_hour,
            self._orig_day_of_week,
            self._orig_day_of_month,
            self._orig_month_of_year,
        )
        return self.__class__, fields, {"nowfun": self.nowfun}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.nowfun = state.get("nowfun")
        self._app = state.get("app")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, crontab):
            return NotImplemented
        names = ("month_of_year", "day_of_month", "day_of_week", "hour", "minute", "nowfun")
        return all(getattr(other, name) == getattr(self, name) for name in names)

    __hash__ = None


class Forward:
    """Added to a date it gives the date with these fields."""

    def __init__(self, **fields: int) -> None:
        self.__dict__.update(fields)

    def _fields(self) -> dict[str, int]:
        return dict(self.__dict__)

    def __radd__(self, other: object) -> datetime:
        if not isinstance(other, datetime):
            return NotImplemented
        return other.replace(fold=0, **self._fields())  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"Forward({', '.join(f'{name}={value}' for name, value in self._fields().items())})"


def _kept(field: Any) -> Any:
    try:
        return field if isinstance(field, (set, frozenset)) else list(field)
    except TypeError:
        return field


def _above(numbers: set[int], number: int) -> int | None:
    ordered = sorted(numbers)
    place = bisect_right(ordered, number)
    return ordered[place] if place < len(ordered) else None
