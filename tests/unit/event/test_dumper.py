"""Events as text: what programs that read `events --dump` know from Celery."""

from __future__ import annotations

import io
from typing import Any

import pytest
from celery.events.dumper import Dumper as TheirDumper

from taskyard.events.dumper import Dumper

_TIME = {"timestamp": 1795296219.341, "utcoffset": 0.0, "pid": 7, "clock": 9}
EVENTS: list[dict[str, Any]] = [
    {"type": "worker-online", "hostname": "w@test", "freq": 2.0, **_TIME},
    {"type": "worker-heartbeat", "hostname": "w@test", "active": 1, "loadavg": [1, 2, 3], **_TIME},
    {
        "type": "task-sent",
        "hostname": "gen@test",
        "uuid": "a",
        "name": "add",
        "args": "(1,)",
        "kwargs": "{}",
        **_TIME,
    },
    {
        "type": "task-received",
        "hostname": "w@test",
        "uuid": "a",
        "name": "add",
        "args": "(1,)",
        "kwargs": "{}",
        **_TIME,
    },
    {"type": "task-started", "hostname": "w@test", "uuid": "a", **_TIME},
    {"type": "task-succeeded", "hostname": "w@test", "uuid": "a", "result": "3", "runtime": 0.1, **_TIME},
    {"type": "task-progress", "hostname": "w@test", "uuid": "a", "percent": 50, **_TIME},
    {"type": "worker-offline", "hostname": "w@test", **_TIME},
    {"type": "custom-thing", "hostname": "w@test", "timestamp": 0.0},
]


def test_lines_are_celery_s() -> None:
    ours, theirs = io.StringIO(), io.StringIO()
    mine, other = Dumper(ours), TheirDumper(theirs)
    for event in EVENTS:
        kept = dict(event)
        mine.on_event(event)
        assert event == kept, "others see it too"
        other.on_event(dict(event))
    assert ours.getvalue() == theirs.getvalue()


def test_a_task_of_unknown_name_is_named_by_its_id() -> None:
    out = io.StringIO()
    Dumper(out).on_event({"type": "task-started", "hostname": "w@test", "uuid": "seen-late", **_TIME})
    assert "task started: (seen-late) clock=9" in out.getvalue()


def test_names_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard.events.dumper._MOST", 2)
    dumper = Dumper(io.StringIO())
    for number in range(5):
        dumper.on_event({"type": "task-received", "hostname": "w", "uuid": f"u{number}", "timestamp": 0.0})
    assert list(dumper._tasks) == ["u3", "u4"]
