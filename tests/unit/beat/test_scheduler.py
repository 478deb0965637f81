"""The scheduler: what it sends, when, and what it remembers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from taskyard import App
from taskyard.beat import BeatLazyFunc, PersistentScheduler, Scheduler
from taskyard.client.producer import Producer
from taskyard.schedules import crontab


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


def test_what_is_due_is_sent_and_the_pause_is_until_the_next(app: App, sent: list[Any]) -> None:
    scheduler = Scheduler(app)
    assert scheduler.tick() == pytest.approx(10, abs=5)
    assert sent == []
    scheduler = Scheduler(app)
    longer_ago(scheduler, "often", seconds=60)
    longer_ago(scheduler, "weekly", days=8)
    assert scheduler.tick() == pytest.approx(10, abs=5)
    assert sorted(message.headers["task"] for message in sent) == ["unit.often", "unit.weekly"]
    assert json.loads(next(each.body for each in sent if each.headers["task"] == "unit.often"))[0] == [
        1,
        "now",
    ]
    assert scheduler.tick() > 1
    assert len(sent) == 2, "once"
    assert Scheduler(app, max_interval=3).tick() <= 3


def test_a_task_that_cannot_be_sent_waits_for_its_next_turn(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **options: Any) -> None:
        raise ConnectionError("broker away")

    monkeypatch.setattr(Producer, "publish", away)
    scheduler = Scheduler(app)
    longer_ago(scheduler, "often", seconds=60)
    assert scheduler.tick() == pytest.approx(10, abs=5)


def test_a_restart_knows_what_ran(app: App, sent: list[Any], tmp_path: Path) -> None:
    file = str(tmp_path / "schedule")
    first = PersistentScheduler(app, filename=file)
    longer_ago(first, "often", seconds=60)
    first.tick()
    second = PersistentScheduler(app, filename=file)
    assert second.schedule["often"].total_run_count == 1
    assert second.tick() > 1
    assert len(sent) == 1
    Path(file).write_text(json.dumps({"often": [(datetime.now(UTC) - timedelta(hours=1)).isoformat(), 7]}))
    PersistentScheduler(app, filename=file).tick()
    assert len(sent) == 2, "a run that was missed is made up for"
    Path(file).write_text("no schedule")
    assert PersistentScheduler(app, filename=file).schedule["often"].total_run_count == 0
