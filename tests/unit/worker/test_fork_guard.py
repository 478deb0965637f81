"""A process is copied only while its threads stand outside of what they do."""

from __future__ import annotations

import threading

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


def test_one_that_never_ends_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_guard, "_PATIENCE_SECONDS", 0.01)
    guard, other = ForkGuard(), threading.Lock()
    guard.add(other)
    other.acquire()
    with guard:
        pass
    assert other.locked()
    assert guard.lock.acquire(timeout=1)
