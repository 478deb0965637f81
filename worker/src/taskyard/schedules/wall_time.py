"""Wall-clock times and moments where a zone's offset changes: times that do not exist, or exist twice.

Works on any tzinfo that follows PEP 495 (zoneinfo, dateutil): only conversions from UTC are relied on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
_TICK = timedelta(microseconds=1)


def wall(moment: datetime, zone: tzinfo) -> datetime:
    """What a clock on the wall shows at a moment (naive)."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def offset(moment: datetime, zone: tzinfo) -> timedelta:
    """The zone's offset at a moment."""
    found = moment.astimezone(zone).utcoffset()
    assert found is not None
    return found


def transition(before: datetime, after: datetime, zone: tzinfo) -> datetime | None:
    """The moment in (before, after] from which the offset of `after` holds; None if it holds throughout."""
    final = offset(after, zone)
    if offset(before, zone) == final:
        return None
    return _first(lambda moment: offset(moment, zone) == final, before, after)


def moments(time: datetime, zone: tzinfo) -> list[datetime]:
    """The moments (UTC, in order) at which the wall shows `time` (naive).

    Two where the clock goes back; where it jumps over the time, the one moment of the jump.
    """
    found = {time.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    real = sorted(moment for moment in found if wall(moment, zone) == time)
    if real:
        return real
    return [_first(lambda moment: wall(moment, zone) >= time, min(found) - DAY, max(found) + DAY)]


def last_boundary(moment: datetime, unit: timedelta, zone: tzinfo) -> datetime:
    """The last moment up to `moment` at which the wall shows a multiple of the unit (a second to an hour).

    A jump of the clock over such a time is one, too.
    """
    moment = moment.astimezone(UTC)
    while True:
        shown = wall(moment, zone)
        midnight = shown.replace(hour=0, minute=0, second=0, microsecond=0)
        wanted = shown - (shown - midnight) % unit
        guess = moment - (shown - wanted)
        if wall(guess, zone) == wanted:
            return guess
        jump = transition(guess, moment, zone)
        if jump is None:
            return guess
        before = jump - _TICK
        if wall(before, zone) < wanted:
            return jump
        moment = before


def first_boundary(after: datetime, unit: timedelta, zone: tzinfo) -> datetime:
    """The first moment after `after` at which the wall shows a multiple of the unit."""
    after = after.astimezone(UTC)
    ahead = after + unit
    while (found := last_boundary(ahead, unit, zone)) <= after:
        ahead += unit
    while (earlier := last_boundary(found - _TICK, unit, zone)) > after:
        found = earlier
    return found


def _first(holds: Callable[[datetime], bool], before: datetime, after: datetime) -> datetime:
    """The first whole second in (before, after] at which something holds that did not hold before."""
    before = before.astimezone(UTC).replace(microsecond=0)
    low, high = 0, int((after.astimezone(UTC) - before).total_seconds()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if holds(before + timedelta(seconds=middle)):
            high = middle
        else:
            low = middle
    return before + timedelta(seconds=high)
