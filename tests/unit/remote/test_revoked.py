"""What is revoked, where it is kept, and for how long."""

from __future__ import annotations

from pathlib import Path
from time import time

import pytest

from taskyard.control import revocations
from taskyard.control.revocations import Revoked, SqliteRevocations, stamps_of
from taskyard.worker.remote import revoked as module
from taskyard.worker.remote.revoked import RevokedTasks
from taskyard.worker.remote.statedb import StateFile


def test_ids_and_stamps() -> None:
    revoked = RevokedTasks()
    assert not revoked.active
    revoked.add(["a"])
    revoked.add_stamps({"customer": ["x", 7]})
    assert revoked.active
    assert revoked.covers("a", {})
    assert not revoked.covers("b", {})
    assert revoked.covers("b", {"stamps": {"customer": "x"}})
    assert revoked.covers("b", {"stamps": {"customer": ["z", "7"]}})
    assert not revoked.covers("b", {"stamps": {"customer": "z", "other": "x"}})
    assert not revoked.covers("b", {"stamps": "nonsense"})
    assert revoked.ids() == ["a"]


def test_what_is_old_is_forgotten() -> None:
    revoked = RevokedTasks()
    revoked.merge(Revoked({"old": time() - 1, "new": time() + 60}, {("h", "old"): time() - 1}))
    assert "old" not in revoked
    assert "new" in revoked
    assert revoked.ids() == ["new"]
    assert not revoked.covers("x", {"stamps": {"h": "old"}})


def test_there_is_a_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    revoked = RevokedTasks()
    for number in range(6):
        revoked.add([str(number)])
    assert revoked.ids() == ["3", "4", "5"]


def test_sqlite_keeps_them_for_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "broker.db")
    SqliteRevocations(path).add(["a"])
    SqliteRevocations(path).add_stamps({"h": "s"})
    found = SqliteRevocations(path).load()
    assert list(found.ids) == ["a"]
    assert list(found.stamps) == [("h", "s")]
    monkeypatch.setattr(revocations, "LIFE_SECONDS", -1.0)
    SqliteRevocations(path).add(["a", "b"])
    assert SqliteRevocations(path).load().ids == {}


def test_stamps_are_compared_as_text() -> None:
    assert stamps_of({"a": 1, "b": ["x", None]}) == [("a", "1"), ("b", "x"), ("b", "None")]


def test_the_state_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state"
    assert StateFile(str(path)).read() == (Revoked({}, {}), 0)
    kept = Revoked({"a": time() + 60}, {("h", "s"): time() + 60})
    StateFile(str(path)).write(kept, 42)
    assert StateFile(str(path)).read() == (kept, 42)
    path.write_text("{")
    assert StateFile(str(path)).read() == (Revoked({}, {}), 0)
    StateFile(str(tmp_path / "nowhere" / "state")).write(kept, 1)
    assert "cannot be read" in caplog.text
    assert "cannot be written" in caplog.text
