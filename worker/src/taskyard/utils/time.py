"""Dates and durations, under the path that Celery's users import."""

from __future__ import annotations

import time as _time
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from taskyard.events.rates import rate
from taskyard.schedules.interval import mark_after, schedule
from taskyard.task.retrying import backoff_seconds as get_exponential_backoff_interval

__all__ = (
    "LocalTimezone",
    "add_seconds_to_datetime",
    "adjust_timestamp",
    "delta_resolution",
    "ffwd",
    "get_exponential_backoff_interval",
    "humanize_seconds",
    "is_naive",
    "localize",
    "make_aware",
    "maybe_iso8601",
    "maybe_make_aware",
    "maybe_timedelta",
    "rate",
    "remaining",
    "subtract_datetimes",
    "timezone",
    "to_utc",
    "utcoffset",
    "weekday",
    "yearmonth",
)

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


class LocalTimezone(tzinfo):
    """The system's zone, with its changes over the year."""

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        """The offset on that date."""
        return (dt or datetime.now()).replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, dt: datetime | None) -> timedelta | None:
        """How much of the offset is for the summer."""
        summer = _time.localtime((dt or datetime.now()).replace(tzinfo=None).timestamp()).tm_isdst
        return timedelta(seconds=_time.timezone - _time.altzone) if summer > 0 else timedelta(0)

    def tzname(self, dt: datetime | None) -> str | None:
        """The zone's short name on that date."""
        return (dt or datetime.now()).replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, dt: datetime) -> datetime:
        """The date here, with the offset that it has."""
        return dt.replace(tzinfo=UTC).astimezone()

    def __repr__(self) -> str:
        return f"<LocalTimezone: UTC{datetime.now().astimezone():%z}>"


class _Zone:
    """Zones by name, the system's, and dates moved into them."""

    @cached_property
    def local(self) -> tzinfo:
        """The system's zone."""
        return LocalTimezone()

    @cached_property
    def utc(self) -> tzinfo:
        """UTC, as zoneinfo has it."""
        return ZoneInfo("UTC")

    def get_timezone(self, zone: str | tzinfo) -> tzinfo:
        """The zone of that name, or the zone itself."""
        return ZoneInfo(zone) if isinstance(zone, str) else zone

    def tz_or_local(self, tzinfo: str | tzinfo | None = None) -> tzinfo:
        """The zone, or the system's."""
        return self.local if tzinfo is None else self.get_timezone(tzinfo)

    def to_local(self, dt: datetime, local: Any = None, orig: tzinfo | None = None) -> datetime:
        """The date in the zone `local` (the system's); without a zone it is taken as one in `orig` (UTC)."""
        aware = make_aware(dt, orig or self.utc) if is_naive(dt) else dt
        return localize(aware, self.tz_or_local(local))

    def to_system(self, dt: datetime) -> datetime:
        """The date in the system's zone."""
        return dt.astimezone()

    def to_local_fallback(self, dt: datetime) -> datetime:
        """The date in the system's zone; without a zone it is taken as one there."""
        return make_aware(dt, self.local) if is_naive(dt) else localize(dt, self.local)


timezone = _Zone()


def maybe_timedelta(delta: Any) -> Any:
    """Seconds as a timedelta; anything else as it is."""
    return timedelta(seconds=delta) if isinstance(delta, (int, float)) else delta


def delta_resolution(dt: datetime, delta: timedelta) -> datetime:
    """The date cut to full days, hours or minutes, whichever is the greatest that the interval holds."""
    seconds = delta.total_seconds()
    for size, cut in (
        (86400, {"hour": 0, "minute": 0, "second": 0, "microsecond": 0}),
        (3600, {"minute": 0, "second": 0, "microsecond": 0}),
        (60, {"second": 0, "microsecond": 0}),
    ):
        if seconds >= size:
            return dt.replace(**cut)  # type: ignore[arg-type]
    return dt


def remaining(
    start: datetime, ends_in: Any, now: datetime | None = None, relative: bool = False
) -> timedelta:
    """How much time is left of an interval (a timedelta or ffwd) that began at `start`.

    With `relative` it ends at a full day, hour or minute, whichever is the greatest that it holds.
    """
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    if relative and isinstance(ends_in, timedelta):
        return mark_after(start, ends_in, start.tzinfo or UTC) - moment
    if isinstance(ends_in, timedelta):
        return add_seconds_to_datetime(start, ends_in.total_seconds()).astimezone(UTC) - moment
    end: datetime = start + ends_in
    return end.astimezone(UTC) - moment


def weekday(name: str) -> int:
    """The number of a day of the week, 0 for Sunday; KeyError for what is none."""
    return _position(name, _DAYS)


def yearmonth(name: str) -> int:
    """The number of a month, 1 for January; KeyError for what is none."""
    return _position(name, _MONTHS) + 1


def _position(name: str, names: tuple[str, ...]) -> int:
    try:
        return names.index(name[:3].lower())
    except ValueError:
        raise KeyError(name) from None


def humanize_seconds(
    secs: float, prefix: str = "", sep: str = "", now: str = "now", microseconds: bool = False
) -> str:
    """Seconds for people, such as `1.50 minutes`; less than one is `now`."""
    seconds = round(float(secs), 2)
    if seconds >= 1:
        return f"{prefix}{sep}{schedule(seconds).human_seconds}"
    if microseconds and seconds > 0:
        return f"{prefix}{sep}{seconds:.2f} seconds"
    return now


def maybe_iso8601(dt: datetime | str | None) -> datetime | None:
    """The date in a text; dates and None as they are."""
    if not dt:
        return None
    return dt if isinstance(dt, datetime) else datetime.fromisoformat(dt)


def is_naive(dt: datetime) -> bool:
    """Whether the date has no zone."""
    return dt.tzinfo is None or dt.utcoffset() is None


def add_seconds_to_datetime(dt: datetime, seconds: float) -> datetime:
    """The date so many real seconds later."""
    delta = timedelta(seconds=seconds)
    return dt + delta if is_naive(dt) else (dt.astimezone(UTC) + delta).astimezone(dt.tzinfo)


def subtract_datetimes(end: datetime, start: datetime) -> timedelta:
    """The real time between two dates; those without a zone are in UTC."""
    return maybe_make_aware(end).astimezone(UTC) - maybe_make_aware(start).astimezone(UTC)


def make_aware(dt: datetime, tz: tzinfo) -> datetime:
    """The date in a zone; one that the clock jumps over is moved on, of one that comes twice it is the
    first.
    """
    aware = dt.replace(tzinfo=tz, fold=0)
    if isinstance(tz, ZoneInfo):
        real = aware.astimezone(UTC).astimezone(tz)
        if real.replace(tzinfo=None) != aware.replace(tzinfo=None):
            return real
    return aware


def localize(dt: datetime, tz: tzinfo) -> datetime:
    """A date in UTC moved to a zone, one without a zone taken as one there, any other as it is."""
    if is_naive(dt):
        dt = make_aware(dt, tz)
    return dt.astimezone(tz) if str(dt.tzinfo) == "UTC" else dt


def to_utc(dt: datetime) -> datetime:
    """A date without a zone as one in UTC."""
    return make_aware(dt, timezone.utc)


def maybe_make_aware(dt: datetime, tz: Any = None, naive_as_utc: bool = True) -> datetime:
    """The date itself if it has a zone; otherwise taken as UTC (or as one in `tz`), and moved to `tz`."""
    if not is_naive(dt):
        return dt
    zone = timezone.utc if tz is None else timezone.tz_or_local(tz)
    return localize(to_utc(dt) if naive_as_utc else dt, zone)


class ffwd:  # noqa: N801  Celery's name
    """What a date is moved on by: other parts of it, then whole weeks, then up to a day of the week."""

    def __init__(
        self,
        year: int | None = None,
        month: int | None = None,
        weeks: int = 0,
        weekday: int | None = None,
        day: int | None = None,
        hour: int | None = None,
        minute: int | None = None,
        second: int | None = None,
        microsecond: int | None = None,
        **unused: Any,
    ) -> None:
        self.year, self.month, self.day = year, month, day
        self.hour, self.minute, self.second, self.microsecond = hour, minute, second, microsecond
        self.weeks, self.weekday, self.days = weeks, weekday, weeks * 7

    def __radd__(self, other: Any) -> Any:
        if not isinstance(other, date):
            return NotImplemented
        year, month = self.year or other.year, self.month or other.month
        parts = {"year": year, "month": month}
        parts["day"] = min(monthrange(year, month)[1], self.day or other.day)
        times = {name: getattr(self, name) for name in ("hour", "minute", "second", "microsecond")}
        moved = other.replace(**parts, **{name: value for name, value in times.items() if value is not None})
        if self.weekday is not None:
            moved += timedelta(days=(7 - moved.weekday() + self.weekday) % 7)
        return moved + timedelta(days=self.days)

    def __repr__(self) -> str:
        given = {name: value for name, value in vars(self).items() if value is not None and name != "days"}
        return f"ffwd({', '.join(f'{name}={value!r}' for name, value in given.items())})"


def utcoffset(time: Any = _time, localtime: Callable[..., Any] = _time.localtime) -> float:
    """How many hours the system's zone is behind UTC now."""
    seconds = time.altzone if localtime().tm_isdst else time.timezone
    return float(seconds / 3600)


def adjust_timestamp(ts: float, offset: float, here: Callable[..., float] = utcoffset) -> float:
    """A timestamp of a place with that offset (as by `utcoffset`) as one of here."""
    return ts - (offset - here()) * 3600
