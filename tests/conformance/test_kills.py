"""`kill -9` of the worker or of its children at random moments under load: nothing is lost.

KILLS is how many; a few in `make test`, `make conformance KILLS=1000` for a night.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from taskyard import App
from tests.brokers.redis import RedisServer
from tests.conformance.pains.harness import Cluster, wait_until

KILLS = int(os.environ.get("KILLS", "3"))


@pytest.fixture(params=["redis", pytest.param("amqp", marks=pytest.mark.slow)])
def cluster(
    request: pytest.FixtureRequest, redis_server: RedisServer, redis_url: str, tmp_path: Path
) -> Iterator[Cluster]:
    broker = redis_url if request.param == "redis" else request.getfixturevalue("vhost").url
    made = Cluster("taskyard", tmp_path, broker, redis_url)
    yield made
    made.close()


@pytest.mark.timeout(300 + 20 * KILLS)
def test_nothing_is_lost(cluster: Cluster) -> None:
    random = Random(20261121)
    client: App = cluster.client
    worker = cluster.start("-c", "2")
    sent = 0
    for _ in range(KILLS):
        for _ in range(100):
            client.send_task("pains.run", (f"n{sent}", random.choice((0, 0, 0.005))), ignore_result=True)
            sent += 1
        time.sleep(random.uniform(0, 0.3))
        if random.random() < 0.5:
            worker.kill()
            worker = cluster.start("-c", "2")
        else:
            for child in worker.children()[: random.choice((1, 2))]:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
    names = {f"n{number}" for number in range(sent)}
    wait_until(lambda: names <= set(cluster.count("end")), timeout=240, what=f"all {sent} tasks")
    # What was running, or done and not yet acknowledged, runs again; nothing else does.
    doubles = cluster.count("end").total() - sent
    assert doubles <= 150 * KILLS
