"""A worker in a thread of the test's own process, over the broker in memory."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from taskyard import App, Task
from taskyard.broker.dead_letters import open_store
from taskyard.errors import Reject
from taskyard.worker.options import Options
from taskyard.worker.worker import Worker
from tests.integration.worker.harness import wait_until

ran: list[Any] = []
waiting: list[Any] = []


@pytest.fixture
def app() -> App:
    ran.clear()
    waiting.clear()
    app = App("memory", broker=f"memory://{uuid4()}", backend="cache+memory://")

    @app.task(name="mark")
    def mark(what: Any) -> None:
        ran.append(what)

    @app.task(name="twice", bind=True)
    def twice(self: Task[..., Any]) -> None:
        ran.append(self.request.retries)
        if not self.request.retries:
            raise self.retry(countdown=1)

    @app.task(name="onward")
    def onward(what: Any) -> int:
        app.send_task("mark", (what,))  # a task that is sent by a task
        return os.getpid()

    @app.task(name="meet")
    async def meet(count: int) -> int:
        waiting.append(None)
        while len(waiting) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return len(waiting)

    @app.task(name="reject")
    def reject() -> None:
        raise Reject("no")

    return app


@pytest.fixture(params=["solo", "threads", "asyncio"])
def worker(app: App, request: pytest.FixtureRequest) -> Iterator[Worker]:
    slots = 1 if request.param == "solo" else 3
    worker = Worker(app, Options(queues=("celery",), concurrency=slots, pool=request.param))
    thread = threading.Thread(target=worker.run, kwargs={"catch_signals": False})
    thread.start()
    yield worker
    worker.loop.call_soon_threadsafe(worker.stop, "the test's end")
    thread.join(30)
    assert worker.exit_code == 0


def test_a_worker_in_a_thread(app: App, worker: Worker) -> None:
    for number in range(20):
        app.send_task("mark", (number,), priority=number % 2)
    app.send_task("twice")
    app.send_task("reject", task_id="rejected")
    app.send_task("mark", ("later",), countdown=1)
    wait_until(lambda: len(ran) == 23)
    assert sorted(each for each in ran if isinstance(each, int)) == sorted([*range(20), 0, 1])
    assert "later" in ran
    with open_store(app.conf) as store:
        wait_until(lambda: [each.id for each in store.letters("celery.dead")] == ["rejected"])
    assert app.send_task("onward", ("sent on",)).get(timeout=60) == os.getpid()
    wait_until(lambda: "sent on" in ran)
    if worker.pool.slots > 1:
        results = [app.send_task("meet", (3,)) for _ in range(3)]
        assert [each.get(timeout=60) for each in results] == [3, 3, 3]
