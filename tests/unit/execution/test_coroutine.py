"""`async def` tasks on a loop of the runner's own, and their soft limit."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from taskyard.errors import SoftTimeLimitExceeded
from taskyard.execution.coroutine import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def after() -> Iterator[Any]:
    """Raise SoftTimeLimitExceeded in the main thread after that many seconds, as a worker's signal does."""

    def raising(number: int, frame: Any) -> None:
        raise SoftTimeLimitExceeded

    before = signal.signal(signal.SIGALRM, raising)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_the_loop_is_kept(loop: Loop) -> None:
    async def which() -> asyncio.AbstractEventLoop:
        await asyncio.sleep(0)
        return asyncio.get_running_loop()

    assert loop.run(which()) is loop.run(which())


def test_what_it_raises_is_raised(loop: Loop) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        loop.run(fails())


def test_a_soft_limit_is_seen_where_the_task_waits(loop: Loop, after: Any) -> None:
    async def tidies_up() -> str:
        try:
            after(0.05)
            await asyncio.sleep(60)
        except SoftTimeLimitExceeded:
            await asyncio.sleep(0.01)
            async with asyncio.timeout(60):  # no cancellation is left over
                await asyncio.sleep(0)
            return "tidy"
        return "late"

    assert loop.run(tidies_up()) == "tidy"


def test_a_soft_limit_that_is_not_caught_ends_the_task(loop: Loop, after: Any) -> None:
    ended: list[str] = []

    async def inner() -> None:
        try:
            after(0.05)
            await asyncio.sleep(60)
        finally:
            ended.append("inner")

    async def waits() -> None:
        await asyncio.gather(inner())

    with pytest.raises(SoftTimeLimitExceeded):
        loop.run(waits())

    async def later() -> str:
        await asyncio.sleep(0)
        return "fine"

    assert loop.run(later()) == "fine"
    assert ended == ["inner"]


def test_a_soft_limit_reaches_a_task_that_computes(loop: Loop, after: Any) -> None:
    async def computes() -> None:
        after(0.05)
        while True:
            pass

    with pytest.raises(SoftTimeLimitExceeded):
        loop.run(computes())
