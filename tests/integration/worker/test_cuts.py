"""A network that ends connections at any byte, again and again: nothing is lost, and nothing runs twice."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
import redis

from taskyard import App
from tests.brokers.cutter import Cutter
from tests.brokers.redis import RedisServer
from tests.brokers.vhost import Vhost
from tests.integration.worker.harness import Broker, StartWorker, wait_until
from tests.integration.worker.test_crashes import amqp_messages

#: Another one each time would find more, and fail where nobody changed anything: for hunting by hand.
SEED = int(os.environ.get("CUT_SEED", "1"))
TASKS = 300


def names_and_seconds(number: int) -> tuple[str, float]:
    """Most tasks are short, some outlive a connection or several."""
    return f"n{number}", 0.5 if number % 50 == 0 else random.Random(number).choice((0.0, 0.001, 0.02))


@pytest.mark.redis
def test_redis_behind_a_bad_network(start_worker: StartWorker) -> None:
    with RedisServer() as server, Cutter(server.port, SEED, mean=40_000) as cutter:
        client = App("client", broker=server.url, backend=f"redis://127.0.0.1:{server.port}/1")
        url = f"redis://127.0.0.1:{cutter.port}"
        with redis.Redis(port=server.port) as store:
            check(
                Broker("redis", f"{url}/0", f"{url}/1"),
                client,
                cutter,
                start_worker,
                lambda: store.exists("celery", "unacked", "unacked_index") == 0,
            )


@pytest.mark.rabbitmq
def test_rabbitmq_behind_a_bad_network(vhost: Vhost, amqp_broker: Broker, start_worker: StartWorker) -> None:
    with Cutter(vhost.server.port, SEED, mean=20_000) as cutter:
        client = App("client", broker=amqp_broker.url, backend=amqp_broker.backend)
        url = amqp_broker.url.replace(f":{vhost.server.port}", f":{cutter.port}")
        assert url != amqp_broker.url
        check(
            Broker("amqp", url, amqp_broker.backend),
            client,
            cutter,
            start_worker,
            lambda: amqp_messages(vhost) == 0,
        )


def check(
    broker: Broker, client: App, cutter: Cutter, start_worker: StartWorker, nothing_left: Callable[[], bool]
) -> None:
    worker = start_worker(broker, "-c", "2", "--loglevel", "info", ready=False)
    results = {}
    for number in range(TASKS):
        name, seconds = names_and_seconds(number)
        results[name] = client.send_task("jobs.mark", (name, seconds))
    wait_until(lambda: len(worker.count()) >= TASKS, timeout=180, what="all tasks")
    assert cutter.cuts > 5, "the network was not bad enough"
    cutter.calm()
    wait_until(lambda: worker.get("/readyz")[0] == 200, what="a worker that is connected")
    assert {name: result.get(timeout=60) for name, result in results.items()} == {n: n for n in results}
    wait_until(lambda: worker.state()["held"] == 0, what="nothing held")
    wait_until(nothing_left, what="nothing left")
    assert {name: times for name, times in worker.count().items() if times != 1} == {}
    assert worker.stop() == 0
