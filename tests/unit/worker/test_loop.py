"""The loop and what runs on it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from taskyard.loop import Loop


def run_until(loop: Loop, condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        loop.run_once()


def test_readers_writers_and_removal() -> None:
    loop = Loop()
    seen: list[Any] = []
    one, two = socket.socketpair()
    loop.add_reader(one, lambda tag: seen.append((tag, one.recv(10))), "in")

    def written() -> None:
        seen.append("out")
        loop.remove_writer(one)

    loop.add_writer(one, written)
    two.send(b"x")
    run_until(loop, lambda: len(seen) == 2)
    assert set(seen) == {("in", b"x"), "out"}
    loop.remove(one)
    two.send(b"y")
    loop.call_later(0.05, seen.append, "later")
    run_until(loop, lambda: "later" in seen)
    assert len(seen) == 3
    loop.close()


def test_timers_in_order_and_cancelled() -> None:
    loop = Loop()
    seen: list[Any] = []
    loop.call_later(0.02, seen.append, 2)
    loop.call_later(0.01, seen.append, 1)
    loop.call_later(0.01, seen.append, "never").cancel()
    every = loop.call_repeatedly(0.01, seen.append, "tick")
    run_until(loop, lambda: 2 in seen and seen.count("tick") >= 3)
    assert [each for each in seen if each != "tick"] == [1, 2]
    every.cancel()
    loop.close()


def test_another_thread_wakes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard.loop._LONGEST_WAIT", 60.0)
    loop = Loop()
    seen: list[Any] = []

    def woken() -> None:
        seen.append("woken")
        loop.call_soon(lambda: loop.call_soon(lambda: None))  # the next turn waits for nothing

    threading.Timer(0.05, loop.call_soon_threadsafe, [woken]).start()
    started = time.monotonic()
    run_until(loop, lambda: seen)
    assert time.monotonic() - started < 50
    loop.close()


def test_exceptions_come_out_and_the_loop_goes_on() -> None:
    loop = Loop()
    seen: list[Any] = []

    def bad() -> None:
        raise ValueError("bad")

    loop.call_soon(bad)
    loop.call_soon(seen.append, 1)
    with pytest.raises(ValueError, match="bad"):
        loop.run_once()
    run_until(loop, lambda: seen)
    loop.close()


def test_hooks_run_in_order_before_each_wait() -> None:
    loop = Loop()
    seen: list[Any] = []
    loop.before_tick.append(lambda: seen.append("settle"))
    loop.on_tick.add(lambda: seen.append("send"))
    loop.call_soon(lambda: loop.call_soon(lambda: None))
    loop.run_once()
    assert seen == ["settle", "send"]
    loop.close()


def test_descriptors_closed_behind_its_back_are_forgotten() -> None:
    loop = Loop()
    one, two = socket.socketpair()
    fd = one.fileno()
    loop.add_reader(one, lambda: None)
    one.close()
    loop.forget_closed()
    assert fd not in loop.readers
    two.close()
    loop.close()
