"""A worker in a thread of the test's own process, over the broker in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from taskyard import App, Task
from taskyard.broker.dead_letters import open_store
from taskyard.errors import Reject
from taskyard.worker.options import Options
from taskyard.worker.worker import Worker
from tests.integration.worker.harness import wait_until

ran: list[Any] = []


@pytest.fixture
def app(request: pytest.FixtureRequest) -> App:
    ran.clear()
    app = App("memory", broker=f"memory://{request.node.name}")

    @app.task(name="mark")
    def mark(what: Any) -> None:
        ran.append(what)

    @app.task(name="twice", bind=True)
    def twice(self: Task[..., Any]) -> None:
        ran.append(self.request.retries)
        if not self.request.retries:
            raise self.retry(countdown=2)

    @app.task(name="reject")
    def reject() -> None:
        raise Reject("no")

    return app


@pytest.fixture
def worker(app: App) -> Iterator[Worker]:
    worker = Worker(app, Options(queues=("celery",), concurrency=1, pool="solo"))
    thread = threading.Thread(target=worker.run, kwargs={"catch_signals": False})
    thread.start()
    yield worker
    worker.loop.call_soon_threadsafe(worker.stop, "the test's end")
    thread.join(30)
    assert worker.exit_code == 0


@pytest.mark.usefixtures("worker")
def test_a_worker_in_a_thread(app: App) -> None:
    for number in range(20):
        app.send_task("mark", (number,), priority=number % 2)
    app.send_task("twice")
    app.send_task("reject", task_id="rejected")
    app.send_task("mark", ("later",), countdown=2)
    wait_until(lambda: len(ran) == 23)
    assert sorted(each for each in ran if isinstance(each, int)) == sorted([*range(20), 0, 1])
    assert "later" in ran
    with open_store(app.conf) as store:
        wait_until(lambda: [each.id for each in store.letters("celery.dead")] == ["rejected"])
