"""Limits of tasks, kept by two workers with real brokers."""

from __future__ import annotations

import importlib.util
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from taskyard import App
from taskyard.limits import DuplicateTask
from tests.brokers.rabbitmq import RabbitMQServer
from tests.harness.program import Program, wait_until, worker

APPS = Path(__file__).parent / "apps"
WAIT = 60


@pytest.fixture(params=[pytest.param("redis", marks=pytest.mark.redis), "sqlite", "amqp"])
def jobs(
    request: pytest.FixtureRequest, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The tasks' module as a client has it."""
    if request.param == "amqp":
        request.node.add_marker(pytest.mark.rabbitmq)
        server: RabbitMQServer = request.getfixturevalue("rabbitmq_server")
        broker = server.url()
    else:
        broker = redis_url if request.param == "redis" else f"sqlite:///{tmp_path}/broker.db"
    monkeypatch.setenv("TASKYARD_BROKER_URL", broker)
    monkeypatch.setenv("TASKYARD_RESULT_BACKEND", redis_url)
    monkeypatch.setenv("RECORD", str(tmp_path / "record"))
    spec = importlib.util.spec_from_file_location("limited", APPS / "limited.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "limited", module)
    spec.loader.exec_module(module)
    yield module
    module.app.producer.close()


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQServer]:
    with RabbitMQServer(management=False) as server:
        yield server


@pytest.fixture
def workers(jobs: Any, tmp_path: Path) -> Iterator[list[Program]]:
    with ExitStack() as stack:
        started = []
        for name in "ab":
            program = worker("limited", APPS, tmp_path, "-c", "2", "-n", name, "-l", "info")
            stack.callback(program.stop)
            started.append(program)
        yield started


def recorded(word: str) -> list[str]:
    path = Path(os.environ["RECORD"])
    return [line for line in path.read_text().splitlines() if word in line] if path.exists() else []


def test_limits_hold_over_all_workers(jobs: Any, workers: list[Program]) -> None:
    # Once: the second call is the first one's result; a stranger's message is a duplicate.
    first, again = jobs.receipt.delay(1), jobs.receipt.delay(1)
    assert first.get(timeout=WAIT) == again.get(timeout=WAIT) == 1
    stranger: App = App("stranger", broker=os.environ["TASKYARD_BROKER_URL"], backend=jobs_backend())
    with pytest.raises(DuplicateTask) as raised:
        stranger.send_task("limited.receipt", (1,)).get(timeout=WAIT)
    assert raised.value.first == first.id
    assert recorded("receipt") == ["receipt 1"]

    # Concurrency: each tenant has two of the four processes, whatever waits.
    crawls = [jobs.crawl.delay(tenant) for tenant in "xxxxxxyyyyyy"]
    assert jobs.plain.delay(7).get(timeout=WAIT) == 7
    for result in crawls:
        result.get(timeout=WAIT)
    for tenant in "xy":
        lines = recorded(f"{tenant} ")
        assert len(lines) == 12
        assert max(itertools.accumulate(1 if line.endswith("in") else -1 for line in lines)) == 2

    # Rate: the last start is 14 tenths of a second after the first one at least.
    began = time.monotonic()
    for result in [jobs.call.delay(number) for number in range(15)]:
        result.get(timeout=WAIT)
    assert time.monotonic() - began > 1.39
    assert len(recorded("call")) == 15


@pytest.mark.parametrize("jobs", [pytest.param("redis", marks=pytest.mark.redis)], indirect=True)
def test_a_killed_worker_s_lock_is_taken_over_with_a_higher_token(jobs: Any, workers: list[Program]) -> None:
    held = jobs.book.delay("7", 600)
    wait_until(lambda: recorded("book"), what="the lock is held")
    waits = jobs.book.delay("7")
    with redis.Redis.from_url(os.environ["TASKYARD_BROKER_URL"]) as store:

        def end() -> float:
            ((_, score),) = store.zrange("taskyard:limit:{account:7}:slots", 0, -1, withscores=True)
            return float(score)

        first = end()
        wait_until(lambda: end() > first, what="the lease is renewed")
    assert len(recorded("book")) == 1
    holder = next(program for program in workers if f"book[{held.id}] received" in program.text())
    for child in _children(holder.process.pid):
        os.kill(child, signal.SIGKILL)
    holder.stop(signal.SIGKILL)
    assert waits.get(timeout=2 * WAIT) > int(recorded("book")[0].split()[1])


def jobs_backend() -> str:
    return os.environ["TASKYARD_RESULT_BACKEND"]


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
