"""Results as messages: our worker with Celery's client, Celery's worker with ours."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import pytest

from taskyard import App
from taskyard.errors import TimeoutError
from taskyard.result import AsyncResult, GroupResult
from tests.brokers.rabbitmq import RabbitMQServer
from tests.brokers.vhost import Vhost
from tests.integration.worker.harness import APPS, WorkerProcess

WAIT = 60


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQServer]:
    with RabbitMQServer() as server:
        yield server


@pytest.fixture(params=["amqp", "redis"])
def broker_url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "redis":
        yield request.getfixturevalue("redis_url")
        return
    vhost = Vhost(request.getfixturevalue("rabbitmq"))
    yield vhost.url
    vhost.delete()


@pytest.fixture
def worker(broker_url: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(
        tmp_path, broker_url, "-c", "2", backend="rpc://", environment={"TRACK_STARTED": "1"}
    )
    yield worker.start()
    worker.close()


@pytest.fixture
def app(broker_url: str) -> App:
    return App("client", broker=broker_url, backend="rpc://")


def test_celery_s_client_gets_what_our_worker_sends(worker: WorkerProcess, broker_url: str) -> None:
    client = celery.Celery("client", broker=broker_url, backend="rpc://", set_as_current=False)
    try:
        sent = [client.send_task("jobs.add", (number, 1)) for number in range(20)]
        assert [result.get(timeout=WAIT) for result in sent] == [number + 1 for number in range(20)]
        with pytest.raises(ValueError, match="bad"):
            client.send_task("jobs.fail", ("bad",)).get(timeout=WAIT)
        assert client.send_task("jobs.third_time").get(timeout=WAIT) == 2
    finally:
        client.close()


def test_our_client_and_our_worker(worker: WorkerProcess, app: App) -> None:
    sent = [app.send_task("jobs.add", (number, 1)) for number in range(50)]
    group = GroupResult("g", sent, app=app)
    assert group.get(timeout=WAIT) == [number + 1 for number in range(50)]
    assert sent[0].ready()
    assert AsyncResult(sent[1].id, app=app).get(timeout=WAIT) == 2
    with pytest.raises(ValueError, match="bad"):
        app.send_task("jobs.fail", ("bad",)).get(timeout=WAIT)
    with pytest.raises(TimeoutError):
        AsyncResult("never sent", app=app).get(timeout=0.2)
    with pytest.raises(NotImplementedError, match="does not support chords"):
        app.backend.ensure_chords_allowed()

    add = app.task(name="jobs.add")(lambda x, y: x + y)

    async def together() -> list[Any]:
        sent = [await add.aapply_async((number, 2)) for number in range(10)]
        return await asyncio.gather(*(result.aget(timeout=WAIT) for result in sent))

    assert asyncio.run(together()) == [number + 2 for number in range(10)]


def test_threads_get_their_own_results_whoever_reads(worker: WorkerProcess, app: App) -> None:
    got: dict[int, int] = {}

    def call(number: int) -> None:
        got[number] = app.send_task("jobs.add", (number, 1)).get(timeout=WAIT)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {number: number + 1 for number in range(8)}
    sent = app.send_task("jobs.add", (1, 1))
    other: list[int] = []
    thread = threading.Thread(target=lambda: other.append(sent.get(timeout=WAIT)))
    thread.start()
    thread.join()
    assert other == [2]


def test_our_client_gets_what_celery_s_worker_sends(broker_url: str, app: App, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(APPS), "BROKER": broker_url, "BACKEND": "rpc://"}
    command = [sys.executable, "-m", "celery", "-A", "celery_jobs", "worker", "-c", "1", "--without-mingle"]
    with (tmp_path / "log").open("wb") as log:
        theirs = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
    try:
        assert app.send_task("celery_jobs.add", (2, 3)).get(timeout=WAIT) == 5
        with pytest.raises(ValueError, match="from celery"):
            app.send_task("celery_jobs.fail").get(timeout=WAIT)
    finally:
        theirs.kill()
        theirs.wait(30)


def test_a_task_out_of_time_fails_at_the_client(worker: WorkerProcess, app: App) -> None:
    with pytest.raises(Exception, match="TimeLimitExceeded"):
        app.send_task("jobs.mark", ("slow", 60), time_limit=1).get(timeout=WAIT)
    expired = app.send_task("jobs.add", (1, 1), expires=-1)
    with pytest.raises(Exception, match="expired"):
        expired.get(timeout=WAIT)
