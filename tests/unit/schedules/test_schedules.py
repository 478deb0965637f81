"""Schedules where Celery's own tests (tests/conformance) do not look: clocks put forward and back."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.schedules import ParseException, crontab, crontab_parser, maybe_schedule, schedule

PARIS = ZoneInfo("Europe/Paris")


def app(zone: str = "UTC", now: datetime | None = None) -> Any:
    settings = SimpleNamespace(enable_utc=True, beat_cron_starting_deadline=None)
    return SimpleNamespace(
        timezone=ZoneInfo(zone), conf=settings, now=lambda: now or datetime.now(ZoneInfo(zone))
    )


def runs(schedule: crontab, start: datetime, count: int, zone: ZoneInfo = PARIS) -> list[str]:
    found, last = [], start
    for _ in range(count):
        last = schedule.next_after(last, zone)
        found.append(last.astimezone(zone).isoformat()[5:])
    return found


def paris(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_a_time_that_is_left_out_runs_once_as_much_later() -> None:
    start = paris("2020-03-28T12:00:00+01:00")
    assert runs(crontab(30, 2), start, 2) == ["03-29T03:30:00+02:00", "03-30T02:30:00+02:00"]
    assert runs(crontab("0,30", 2), start, 3) == [
        "03-29T03:00:00+02:00",
        "03-29T03:30:00+02:00",
        "03-30T02:00:00+02:00",
    ]


def test_every_half_hour_goes_on_through_a_jump_forward() -> None:
    start = paris("2020-03-29T01:00:00+01:00")
    assert runs(crontab("*/30"), start, 3) == [
        "03-29T01:30:00+01:00",
        "03-29T03:00:00+02:00",
        "03-29T03:30:00+02:00",
    ]


def test_a_repeated_time_runs_once() -> None:
    start = paris("2020-10-24T12:00:00+02:00")
    assert runs(crontab(30, 2), start, 2) == ["10-25T02:30:00+02:00", "10-26T02:30:00+01:00"]
    assert runs(crontab(30, "1-3"), start, 4) == [
        "10-25T01:30:00+02:00",
        "10-25T02:30:00+02:00",
        "10-25T03:30:00+01:00",
        "10-26T01:30:00+01:00",
    ]


def test_every_half_hour_runs_in_both_of_the_repeated_hours() -> None:
    start = paris("2020-10-25T02:00:00+02:00")
    assert runs(crontab("*/30"), start, 4) == [
        "10-25T02:30:00+02:00",
        "10-25T02:00:00+01:00",
        "10-25T02:30:00+01:00",
        "10-25T03:00:00+01:00",
    ]


@given(
    start=st.datetimes(datetime(2019, 1, 1), datetime(2022, 1, 1)),
    minute=st.sets(st.integers(0, 59), min_size=1, max_size=3),
    zone=st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
)
def test_every_hour_is_every_real_minute_whose_wall_clock_fits(
    start: datetime, minute: set[int], zone: str
) -> None:
    last = start.replace(tzinfo=UTC)
    found = crontab(minute=minute).next_after(last, ZoneInfo(zone))
    moment = last.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while moment.astimezone(ZoneInfo(zone)).minute not in minute and moment < found:
        moment += timedelta(minutes=1)
    assert found == moment


@given(
    start=st.datetimes(datetime(2019, 1, 1), datetime(2022, 1, 1)),
    hour=st.sets(st.integers(0, 23), min_size=1, max_size=3),
    weekday=st.sets(st.integers(0, 6), min_size=1, max_size=3),
    zone=st.sampled_from(["UTC", "Europe/Paris", "America/Havana", "Pacific/Apia"]),
)
def test_the_next_run_is_later_and_none_lies_between(
    start: datetime, hour: set[int], weekday: set[int], zone: str
) -> None:
    last = start.replace(tzinfo=UTC)
    cron = crontab(minute="0,30", hour=hour, day_of_week=weekday)
    found = cron.next_after(last, ZoneInfo(zone))
    assert found > last
    assert found - last <= timedelta(days=8)
    # From any moment before it, it is still the next one.
    assert cron.next_after(found - timedelta(seconds=1), ZoneInfo(zone)) == found


@pytest.mark.parametrize("text", ["*/0", "1-", "5x", "*5", "1--2", "1/x", "*/2/2"])
def test_what_is_no_field_is_refused(text: str) -> None:
    with pytest.raises((ParseException, ValueError)):
        crontab_parser(60).parse(text)


def test_a_schedule_of_the_29th_of_february_finds_its_day_of_the_week() -> None:
    cron = crontab(0, 0, day_of_week="mon", day_of_month=29, month_of_year="feb")
    found = cron.next_after(datetime(2096, 3, 1, tzinfo=UTC), UTC)
    assert (found.year, found.isoweekday()) == (2112, 1)


def test_pickled_schedules_are_equal_and_leave_the_app_behind() -> None:
    cron = crontab(minute=[0, 30], hour="8-18/2", app=app())
    again = pickle.loads(pickle.dumps(cron))
    assert again == cron
    assert repr(again) == "<crontab: [0, 30] 8-18/2 * * * (m/h/dM/MY/d)>"
    assert pickle.loads(pickle.dumps(schedule(90, app=app()))) == schedule(timedelta(seconds=90))


def test_maybe_schedule() -> None:
    assert maybe_schedule(None) is None
    assert repr(maybe_schedule(90)) == "<freq: 1.50 minutes>"
    assert repr(schedule(60)) == "<freq: 1.00 minute>"
    cron = crontab()
    someone = app()
    assert maybe_schedule(cron, app=someone) is cron
    assert cron.app is someone


def test_an_interval_is_due_after_it() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    every = schedule(10, app=app(now=now))
    assert every.is_due(now - timedelta(seconds=4)) == (False, 6)
    assert every.is_due(now - timedelta(seconds=14)) == (True, 10)
