"""Results and acknowledgements in one call, where one Redis keeps both: stored and settled, or neither."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from taskyard import App
from taskyard.broker.redis.scripts import scripts
from tests.brokers.overheard import Overheard
from tests.brokers.redis import RedisServer
from tests.integration.worker.harness import Broker, StartWorker, wait_until


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """One that a test may bring into trouble."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def admin(server: RedisServer) -> Iterator[Any]:
    """The broker's database."""
    with redis.Redis(port=server.port) as client:
        yield client


def pair(server: RedisServer, database: int) -> tuple[Broker, App]:
    broker = Broker("redis", server.url, f"redis://127.0.0.1:{server.port}/{database}")
    return broker, App("client", broker=broker.url, backend=broker.backend)


@pytest.mark.redis
@pytest.mark.parametrize("database", [0, 3])
def test_a_result_and_its_acknowledgement_are_one_call(
    server: RedisServer, admin: Any, start_worker: StartWorker, database: int
) -> None:
    broker, client = pair(server, database)
    start_worker(broker)
    with Overheard(redis.Redis(port=server.port)) as overheard:
        result = client.send_task("jobs.add", (1, 2))
        assert result.get(timeout=60) == 3
        wait_until(lambda: not admin.exists("unacked"), what="nothing unacknowledged")
    key = f"celery-task-meta-{result.id}"
    calls = [each for each in overheard.commands if each.startswith("EVAL") and key in each]
    # Once by its name, which the server does not know yet, and once with its text.
    assert [each.split()[0] for each in calls] == ["EVALSHA", "EVAL"]
    assert all(" unacked " in each and " taskyard:lease:" in each for each in calls)
    alone = {scripts(flags=flags).settle.sha.decode() for flags in (False, True)}
    assert not [each for each in overheard.commands if alone & set(each.split())]
    with redis.Redis(port=server.port, db=database) as results:
        assert results.exists(key)
    assert bool(admin.exists(key)) is (database == 0)


@pytest.mark.redis
def test_what_a_full_server_does_not_store_is_not_acknowledged(
    server: RedisServer, admin: Any, start_worker: StartWorker
) -> None:
    broker, client = pair(server, 1)
    worker = start_worker(broker)
    result = client.send_task("jobs.mark", ("x", 300))
    wait_until(lambda: admin.hlen("unacked") == 1, what="the task in the worker's hands")
    admin.config_set("maxmemory", 1)
    worker.open_gate()
    wait_until(lambda: "is not available" in worker.text(), what="a word about the store")
    assert "a connection of their own, the broker's refuses them: OOM" in worker.text()
    assert admin.hlen("unacked") == 1
    assert worker.state()["held"] == 1
    admin.config_set("maxmemory", 0)
    assert result.get(timeout=60) == "x"
    wait_until(lambda: not admin.exists("unacked"), what="nothing unacknowledged")
    assert client.send_task("jobs.add", (1, 2)).get(timeout=60) == 3
    assert worker.ran() == ["x"]
    assert "lease was lost" not in worker.text()


@pytest.mark.redis
def test_connections_that_break_lose_no_result_and_run_nothing_twice(
    server: RedisServer, admin: Any, start_worker: StartWorker
) -> None:
    broker, client = pair(server, 1)
    worker = start_worker(broker, "-c", "2", "--loglevel", "warning")
    names = [f"n{number}" for number in range(1500)]
    results = [client.send_task("jobs.mark", (name, 0.001)) for name in names]
    for _ in range(5):
        time.sleep(0.2)
        admin.client_kill_filter(_type="normal", skipme=True)
    assert len(worker.ran()) < len(names), "the test came too late"
    assert [result.get(timeout=60) for result in results] == names
    wait_until(lambda: worker.state()["held"] == 0, what="nothing held")
    wait_until(lambda: not admin.exists("unacked"), what="nothing unacknowledged")
    assert set(worker.count().values()) == {1}
