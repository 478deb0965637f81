"""Time that passes at once, and an API server that answers what a test says."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import pytest


class _HastySelector(selectors.DefaultSelector):
    """Never sleeps: moves the loop's clock instead."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("the test waits for something that never happens")
        if not ready and timeout:
            self.now += timeout
        return ready


class FakeTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._hasty = _HastySelector()
        super().__init__(self._hasty)

    def time(self) -> float:
        return self._hasty.now


@pytest.fixture
def hurry() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine in a loop where a sleep of an hour takes no time. I/O is not for it."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
            return runner.run(asyncio.wait_for(main, 10_000))

    return run
