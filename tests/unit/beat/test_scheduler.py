"""The scheduler: what it sends, when, and what it remembers."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from taskyard import App
from taskyard.beat import (
    BeatLazyFunc,
    BeatPidbox,
    EmbeddedService,
    PersistentScheduler,
    ScheduleEntry,
    Scheduler,
    Service,
    beat_nodename,
)
from taskyard.client.producer import Producer
from taskyard.schedules import crontab, maybe_schedule


@pytest.fixture
def app() -> App:
    app = App("unit", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = {
        "often": {"task": "unit.often", "schedule": 10.0, "args": (1, BeatLazyFunc(lambda: "now"))},
        "weekly": {"task": "unit.weekly", "schedule": crontab(hour=3, minute=0, day_of_week=0)},
    }
    return app


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    messages: list[Any] = []
    monkeypatch.setattr(Producer, "publish", lambda self, message, *rest, **options: messages.append(message))
    return messages


def longer_ago(scheduler: Scheduler, name: str, **how_long: float) -> None:
    scheduler.schedule[name].last_run_at -= timedelta(**how_long)


def run_due(scheduler: Scheduler) -> float:
    """Tick until nothing is due; the pause then."""
    while (pause := scheduler.tick()) <= 0:
        pass
    return pause


def test_what_is_due_is_sent_and_the_pause_is_until_the_next(app: App, sent: list[Any]) -> None:
    scheduler = Scheduler(app)
    assert run_due(scheduler) == pytest.approx(10, abs=5)
    assert sent == []
    scheduler = Scheduler(app)
    longer_ago(scheduler, "often", seconds=60)
    longer_ago(scheduler, "weekly", days=8)
    assert run_due(scheduler) == pytest.approx(10, abs=5)
    assert sorted(message.headers["task"] for message in sent) == ["unit.often", "unit.weekly"]
    assert {message.headers["celery_beat_task"] for message in sent} == {True}
    assert json.loads(next(each.body for each in sent if each.headers["task"] == "unit.often"))[0] == [
        1,
        "now",
    ]
    assert scheduler.tick() > 1
    assert len(sent) == 2, "once"
    assert Scheduler(app, max_interval=3).tick() <= 3


def test_a_task_that_cannot_be_sent_waits_for_its_next_turn(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*args: Any, **options: Any) -> None:
        raise ConnectionError("broker away")

    monkeypatch.setattr(Producer, "publish", away)
    scheduler = Scheduler(app)
    longer_ago(scheduler, "often", seconds=60)
    assert run_due(scheduler) == pytest.approx(10, abs=5)
    assert "the periodic task often could not be sent: broker away" in caplog.text


def test_a_schedule_that_cannot_tell_its_next_run_stops_no_other(app: App, sent: list[Any]) -> None:
    class Broken(crontab):
        def is_due(self, last_run_at: Any) -> Any:
            raise TypeError("never")

    app.conf.beat_schedule["broken"] = {"task": "unit.broken", "schedule": Broken()}
    scheduler = Scheduler(app)
    longer_ago(scheduler, "often", seconds=60)
    assert run_due(scheduler) == pytest.approx(10, abs=5)
    assert [message.headers["task"] for message in sent] == ["unit.often"]


def test_entries_come_and_go_while_it_runs(app: App, sent: list[Any]) -> None:
    scheduler = Scheduler(app, lazy=True)
    assert scheduler.tick() == scheduler.max_interval
    scheduler.add(
        name="late",
        task="unit.late",
        schedule=60,
        last_run_at=datetime.now(UTC) - timedelta(hours=1),
        options={"headers": {"mine": 1}},
    )
    run_due(scheduler)
    assert sent[0].headers["mine"] == 1
    assert scheduler.schedule["late"].options == {"headers": {"mine": 1}}
    del scheduler.schedule["late"]
    assert scheduler.tick() == scheduler.max_interval
    scheduler.merge_inplace(app.conf.beat_schedule)
    longer_ago(scheduler, "often", seconds=60)
    run_due(scheduler)
    assert len(sent) == 2


def test_a_scheduler_of_ones_own(app: App, sent: list[Any]) -> None:
    """In the way of those that keep entries in a database: another class of entry, read again and again."""
    rows = {"row": {"task": "unit.row", "every": 5.0, "runs": 0}}

    class RowEntry(ScheduleEntry):
        def __init__(self, name: str, row: dict[str, Any], app: Any = None) -> None:
            self.app, self.name, self.row, self.task = app, name, row, row["task"]
            self.schedule = maybe_schedule(row["every"], app=app)
            self.args, self.kwargs, self.options = [], {}, {}
            self.last_run_at = datetime.now(UTC) - timedelta(hours=not row["runs"])

        def __next__(self) -> RowEntry:
            self.row["runs"] += 1
            return type(self)(self.name, self.row, app=self.app)

    class Rows(Scheduler):
        Entry = RowEntry

        def setup_schedule(self) -> None:
            assert list(self.schedule) == ["row"]

        @property
        def schedule(self) -> Mapping[str, Any]:
            return {name: self.Entry(name, row, app=self.app) for name, row in rows.items()}

        def reserve(self, entry: Any) -> Any:
            return next(entry)

    service = Service(app, scheduler_cls=Rows, max_interval=2)
    assert service.scheduler.max_interval == 2
    assert run_due(service.scheduler) <= 2
    assert [message.headers["task"] for message in sent] == ["unit.row"]
    assert rows["row"]["runs"] == 1


def test_a_scheduler_that_does_not_tick_answers_no_ping(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def box(**settings: Any) -> BeatPidbox:
        app.conf.update(settings)
        return BeatPidbox(Service(app, scheduler_cls=Scheduler, hostname="clock@here"))

    assert box(beat_max_loop_interval=5).max_tick_age == 60
    assert box(beat_max_loop_interval=300).max_tick_age == 600
    app.conf.beat_remote_control_max_tick_age = 20
    fresh = BeatPidbox(Service(app, scheduler_cls=Scheduler))
    assert not fresh.is_stale(), "it has not begun"
    age: list[float] = [19]
    monkeypatch.setattr(Service, "tick_age", lambda self: age[0])
    assert not fresh.is_stale()
    age[0] = 21
    assert fresh.is_stale()
    app.conf.beat_remote_control_max_tick_age = 0
    assert not BeatPidbox(Service(app, scheduler_cls=Scheduler)).is_stale(), "switched off"
    assert beat_nodename().startswith("celerybeat@")
    assert box().hostname == "clock@here"


@pytest.mark.parametrize("thread", [True, False])
def test_a_scheduler_within_a_program(app: App, tmp_path: Path, *, thread: bool) -> None:
    file = tmp_path / "pasts"
    beat = EmbeddedService(app, thread=thread, schedule_filename=str(file))
    beat.start()
    beat.stop()
    beat.join(60)
    assert not beat.is_alive()
    assert set(json.loads(file.read_text())) == {"often", "weekly", "celery.backend_cleanup"}


def test_an_entry_can_be_stored_and_compared(app: App) -> None:
    entry = Scheduler(app).schedule["weekly"]
    again = pickle.loads(pickle.dumps(entry))
    assert (again, again.last_run_at) == (entry, entry.last_run_at)
    assert entry.next().total_run_count == 1
    assert entry.next() == entry
    entry.update(ScheduleEntry(task="unit.other", schedule=5, app=app))
    assert entry != again
    assert repr(entry) == "<ScheduleEntry: weekly unit.other() <freq: 5.00 seconds>>"


def test_a_restart_knows_what_ran(app: App, sent: list[Any], tmp_path: Path) -> None:
    file = str(tmp_path / "schedule")
    first = PersistentScheduler(app, schedule_filename=file)
    longer_ago(first, "often", seconds=60)
    run_due(first)
    second = PersistentScheduler(app, schedule_filename=file)
    assert second.schedule["often"].total_run_count == 1
    assert second.tick() > 1
    assert len(sent) == 1
    Path(file).write_text(json.dumps({"often": [(datetime.now(UTC) - timedelta(hours=1)).isoformat(), 7]}))
    run_due(PersistentScheduler(app, schedule_filename=file))
    assert len(sent) == 2, "a run that was missed is made up for"
    Path(file).write_text("no schedule")
    assert PersistentScheduler(app, schedule_filename=file).schedule["often"].total_run_count == 0
