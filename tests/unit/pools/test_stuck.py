"""Children that have stopped answering are told from those that are busy."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from taskyard.pool.processes import ProcessPool
from taskyard.pool.stuck import END_LOOKS, IDLE_LOOKS, StuckChildren


class Child:
    """As much of a ChildProcess as is looked at."""

    def __init__(self) -> None:
        self.pid, self.jobs, self.unsent, self.ending = 7, dict.fromkeys((5, 6)), bytearray(), False
        self.begun = 4
        self.board = SimpleNamespace(begun=lambda: self.begun)
        self.signals: list[int] = []

    def signal(self, number: int) -> None:
        self.signals.append(number)


class Pool:
    def __init__(self) -> None:
        self.child = Child()
        self.children = [self.child]
        self.watch = StuckChildren(cast(ProcessPool, self))

    def take_all_back(self, child: Any) -> bool:
        child.jobs = {seq: None for seq in child.jobs if seq <= child.begun}
        return not child.jobs

    def look(self, times: int) -> list[int]:
        for _ in range(times):
            self.watch.look()
        return self.child.signals


@pytest.fixture
def pool() -> Pool:
    return Pool()


def test_who_does_not_begin_is_killed_and_has_nothing_left(pool: Pool) -> None:
    assert pool.look(IDLE_LOOKS) == []
    assert pool.look(1) == [signal.SIGKILL]
    assert pool.child.jobs == {}


def test_who_runs_a_task_is_left_alone(pool: Pool) -> None:
    pool.child.begun = 5
    assert pool.look(100) == []


def test_who_has_nothing_to_do_is_left_alone(pool: Pool) -> None:
    pool.child.jobs.clear()
    assert pool.look(100) == []


def test_who_goes_on_is_left_alone(pool: Pool) -> None:
    for seq in range(7, 20):
        pool.look(IDLE_LOOKS)
        pool.child.begun, pool.child.jobs = seq - 1, {seq: None}
    assert pool.child.signals == []


def test_who_still_takes_a_long_message_is_left_alone(pool: Pool) -> None:
    for size in range(30, 0, -1):
        pool.child.unsent = bytearray(size)
        pool.look(1)
    assert pool.child.signals == []


def test_who_begins_at_the_last_moment_is_left_alone(pool: Pool) -> None:
    pool.look(IDLE_LOOKS)
    pool.child.board.begun = iter((4, 5)).__next__
    pool.child.begun = 5
    assert pool.look(1) == []
    assert pool.child.jobs == {5: None}


def test_who_does_not_end_is_killed(pool: Pool) -> None:
    pool.child.jobs.clear()
    pool.child.ending = True
    assert pool.look(END_LOOKS) == []
    assert pool.look(1) == [signal.SIGKILL]
