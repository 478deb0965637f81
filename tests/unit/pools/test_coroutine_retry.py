"""A retry within an `async def` task: its message is sent beside the loop, and before the task has ended."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest

from taskyard import App
from taskyard.execution.job import ACK, REQUEUE, Job, Outcome
from taskyard.pool.birth import ChildSpec
from taskyard.pool.board import Board
from taskyard.pool.coroutines import AsyncioLane


class Bench:
    """A lane that runs one job, on an app that records what it sends and where."""

    def __init__(self, lane: AsyncioLane, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lane = lane
        self.app = lane.app
        #: (task, retries, thread)
        self.sent: list[tuple[str, int, threading.Thread]] = []
        self.error: Exception | None = None
        self._answered: list[Outcome] = []
        monkeypatch.setattr("taskyard.task.Task.apply_async", self._apply_async)
        monkeypatch.setattr(lane, "answer", self._answered.append)

    def _apply_async(self, *args: Any, **options: Any) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(("again", options["retries"], threading.current_thread()))

    def run(self, name: str) -> Outcome:
        job = Job(1, name, "id1", b"[[], {}, {}]", "application/json", "utf-8", {}, {}, {"routing_key": "q"})

        async def begin() -> None:
            self.lane._loop = asyncio.get_running_loop()
            self.lane.begin(job, None, None)
            await self.lane._running[1].task

        copy_context().run(asyncio.run, begin())
        (outcome,) = self._answered
        return outcome


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    app = App("bench", broker="memory://", set_as_current=False)

    @app.task(bind=True, name="raises")
    async def raises(self: Any) -> None:
        await asyncio.sleep(0)
        raise self.retry(countdown=0)

    @app.task(bind=True, name="swallows")
    async def swallows(self: Any) -> str:
        try:
            self.retry(countdown=0)
        except Exception:
            await asyncio.sleep(0)
        return "done"

    @app.task(bind=True, name="automatic", autoretry_for=(ValueError,), default_retry_delay=0)
    async def automatic(self: Any) -> None:
        raise ValueError("no")

    app.finalize()
    ours, theirs = socket.socketpair()
    lane = AsyncioLane(app, ChildSpec("w@test", lane="asyncio"), ours, Board())
    yield Bench(lane, monkeypatch)
    lane.close()
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    ("name", "state"), [("raises", "RETRY"), ("automatic", "RETRY"), ("swallows", "SUCCESS")]
)
def test_the_message_is_sent_beside_the_loop(bench: Bench, name: str, state: str) -> None:
    outcome = bench.run(name)
    assert (outcome.disposition, outcome.state) == (ACK, state)
    ((_, retries, thread),) = bench.sent
    assert retries == 1
    assert thread is not threading.main_thread()


@pytest.mark.parametrize("name", ["raises", "automatic", "swallows"])
def test_a_message_that_cannot_be_sent_puts_the_first_back(bench: Bench, name: str) -> None:
    bench.error = OSError("away")
    assert bench.run(name).disposition == REQUEUE
