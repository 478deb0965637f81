"""`kill -9` of the worker or of its children at random moments under load: no task is lost, and no result.

On Redis the worker's own connection and kombu's transport, on RabbitMQ both types of queues.
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
import redis

from taskyard import App
from tests.brokers.redis import RedisServer
from tests.conformance.pains.harness import Cluster, wait_until

KILLS = int(os.environ.get("KILLS", "3"))
#: Tasks that are sent before each of them.
LOAD = 100
#: Nothing has ended for so long, seconds: what is missing is lost.
SILENCE = 150

#: A worker on Redis has a connection of its own, unless it is told otherwise.
WAYS = {
    "redis-py": {"CLIENT_NAME": "pains"},
    "transport": {"QUEUE_ARGUMENTS": '{"x-note": "queues with more"}'},
}


@pytest.fixture(
    params=[
        "redis",
        "redis-py",
        "transport",
        pytest.param("amqp", marks=pytest.mark.slow),
        pytest.param("quorum", marks=pytest.mark.slow),
    ]
)
def cluster(
    request: pytest.FixtureRequest, redis_server: RedisServer, redis_url: str, tmp_path: Path
) -> Iterator[Cluster]:
    on_redis = request.param in ("redis", *WAYS)
    broker = redis_url if on_redis else request.getfixturevalue("vhost").url
    queue_type = "quorum" if request.param == "quorum" else "classic"
    more = WAYS.get(request.param, {})
    made = Cluster("taskyard", tmp_path, broker, redis_url, QUEUE_TYPE=queue_type, **more)
    yield made
    made.close()


@pytest.mark.timeout(300 + 20 * KILLS)
def test_nothing_is_lost(cluster: Cluster, redis_url: str) -> None:
    started = time.monotonic()
    random = Random(20261121)
    client: App = cluster.client
    worker = cluster.start("-c", "2")
    sent = parents = 0
    keys: list[str] = []
    for _ in range(KILLS):
        for _ in range(LOAD):
            forget, arguments = sent % 2 == 0, (f"n{sent}", random.choice((0, 0, 0.005)))
            result = client.send_task("pains.run", arguments, ignore_result=forget)
            sent += 1
            if not forget:
                keys.append(f"celery-task-meta-{result.id}")
        time.sleep(random.uniform(0, 0.3))
        if random.random() < 0.5:
            parents += 1
            worker.kill()
            worker.log.unlink()
            worker = cluster.start("-c", "2")
        else:
            for child in worker.children()[: random.choice((1, 2))]:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
    lost = sorted({f"n{number}" for number in range(sent)} - ended(cluster, sent))
    doubles = cluster.count("end").total() - sent + len(lost)
    minutes = (time.monotonic() - started) / 60
    kills = f"{KILLS} kills ({parents} of parents)"
    print(f"\n{kills}, {sent} tasks: {len(lost)} lost, {doubles} doubles, {minutes:.1f} minutes")
    assert not lost, lost[:20]
    with redis.Redis.from_url(redis_url) as store:
        wait_until(lambda: stored(store, keys) == len(keys), what="all results")
    # What was running, or done and not yet acknowledged, runs again; nothing else does.
    assert doubles <= 150 * KILLS


def stored(store: redis.Redis, keys: list[str]) -> int:
    """How many of the results are successes."""
    found: list[bytes | None] = store.mget(keys)  # type: ignore[assignment, unused-ignore]
    return sum(b'"SUCCESS"' in (each or b"")[:30] for each in found)


def ended(cluster: Cluster, sent: int) -> set[str]:
    """The tasks that have ended, when all have or when nothing has happened for long."""
    known: set[str] = set()
    deadline = time.monotonic() + SILENCE
    while len(known) < sent and time.monotonic() < deadline:
        time.sleep(0.2)
        now = set(cluster.count("end"))
        if len(now) > len(known):
            known, deadline = now, time.monotonic() + SILENCE
    return known
