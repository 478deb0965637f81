"""A process is copied only while its threads stand outside of what they do."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path

import pytest

from taskyard.pool import fork_guard
from taskyard.pool.fork_guard import ForkGuard


def test_a_thread_at_work_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_guard, "_PATIENCE_SECONDS", 60)
    guard = ForkGuard()
    at_work, may_end = threading.Event(), threading.Event()
    seen: list[str] = []

    def work() -> None:
        with guard.lock:
            at_work.set()
            may_end.wait(30)
            seen.append("work is done")

    thread = threading.Thread(target=work)
    thread.start()
    at_work.wait(30)
    threading.Timer(0.05, may_end.set).start()
    with guard:
        seen.append("copied")
        others = threading.Thread(target=lambda: seen.append(str(guard.lock.acquire(blocking=False))))
        others.start()
        others.join(30)
    thread.join(30)
    assert seen == ["work is done", "copied", "False"]


def test_an_import_is_waited_for_however_slow_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_guard, "_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(fork_guard, "_IMPORT_SECONDS", 60)
    guard = ForkGuard()
    begun, may_end = threading.Event(), threading.Event()
    monkeypatch.setattr(threading, "of_the_test", (begun, may_end), raising=False)
    text = "from threading import of_the_test as events\nevents[0].set()\nevents[1].wait(60)\n"
    (tmp_path / "slow_to_import.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    seen: list[str] = []

    def work() -> None:
        with guard.lock:
            importlib.import_module("slow_to_import")
            seen.append("imported")

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60)
    threading.Timer(0.2, may_end.set).start()
    with guard:
        seen.append("copied")
    thread.join(60)
    assert seen == ["imported", "copied"]


def test_one_that_never_ends_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_guard, "_PATIENCE_SECONDS", 0.01)
    guard, other = ForkGuard(), threading.Lock()
    guard.add(other)
    other.acquire()
    with guard:
        pass
    assert other.locked()
    assert guard.lock.acquire(timeout=1)
