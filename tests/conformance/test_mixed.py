"""Celery's and our workers on one broker: each task once, chords whole, whoever runs their parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import pytest

from taskyard import App
from tests.brokers.redis import RedisServer
from tests.conformance.pains.harness import Cluster, wait_until

WAIT = 120


@pytest.fixture(params=["redis", pytest.param("amqp", marks=pytest.mark.slow)])
def mixed(
    request: pytest.FixtureRequest, redis_server: RedisServer, redis_url: str, tmp_path: Path
) -> Iterator[Cluster]:
    """One worker of each side, and Celery's client; results in Redis."""
    broker = redis_url if request.param == "redis" else request.getfixturevalue("vhost").url
    # What a lost worker of ours has left to Celery alone is restored by this; to ours, within seconds.
    # Elsewhere a busy machine's pauses must restore nothing.
    visible = "8" if "lost" in request.node.name else "3600"
    made = Cluster("celery", tmp_path, broker, redis_url, VISIBILITY_TIMEOUT=visible, LEASE_SECONDS="8")
    made.start("-c", "2", "-P", "threads", side="celery")
    made.start("-c", "2", side="taskyard")
    yield made
    made.close()


def both_took_part(made: Cluster) -> bool:
    return {line.split()[-1] for line in made.recorded() if line.startswith("end")} == {"w0", "w1"}


def send_until_both_take_part(made: Cluster, names: list[str], seconds: float) -> None:
    """One of them may be held up for as long as the other needs for what was sent before."""

    def more() -> bool:
        names.append(f"n{len(names)}")
        made.client.send_task("pains.run", (names[-1], seconds), ignore_result=True)
        return False

    wait_until(lambda: both_took_part(made) or more(), what="both at work")


def test_each_task_runs_once(mixed: Cluster) -> None:
    names = [f"n{number}" for number in range(1000)]
    with mixed.client.producer_or_acquire() as producer:
        sent = [
            mixed.client.send_task("pains.run", (name, 0.001), producer=producer, countdown=index % 7 == 0)
            for index, name in enumerate(names)
        ]
    assert [each.get(timeout=WAIT) for each in sent] == names
    send_until_both_take_part(mixed, names, 0.001)
    wait_until(lambda: len(mixed.count("end")) == len(names), what="all of them")
    assert mixed.count("end") == dict.fromkeys(names, 1)


def test_chords_are_whole(mixed: Cluster) -> None:
    add, total = (mixed.client.signature(f"pains.{name}") for name in ("add", "total"))
    chords = []
    for size in (1, 2, 5, 20) * 5:
        header = [add.clone((number, 1)) for number in range(size)]
        chords.append((celery.chord(header, total, app=mixed.client).apply_async(), size))
    for result, size in chords:
        assert result.get(timeout=WAIT) == size * (size - 1) // 2 + size
    assert mixed.count("total").total() == len(chords)


def test_chains_pass_from_one_to_the_other(mixed: Cluster) -> None:
    add = mixed.client.signature("pains.add")
    chains = [celery.chain(add.clone((n, 1)), *[add.clone((1,))] * 9, app=mixed.client)() for n in range(20)]
    assert [chain.get(timeout=WAIT) for chain in chains] == [n + 10 for n in range(20)]


def test_our_client_knows_no_difference(mixed: Cluster) -> None:
    app = App("client", broker=mixed.environment["BROKER"], backend=mixed.environment["BACKEND"])
    sent: list[Any] = [app.send_task("pains.add", (n, n)) for n in range(100)]
    assert [each.get(timeout=WAIT) for each in sent] == [2 * n for n in range(100)]
    late = [app.send_task("pains.run", (f"late{n}",), countdown=0.5) for n in range(20)]
    assert [each.get(timeout=WAIT) for each in late] == [f"late{n}" for n in range(20)]
    assert set(mixed.count("end").values()) == {1}
    from taskyard.canvas import chord, group

    add, total = (app.signature(f"pains.{name}") for name in ("add", "total"))
    assert chord([add.clone((n, 1)) for n in range(10)], total, app=app)().get(timeout=WAIT) == 55
    assert group([add.clone((n, 1)) for n in range(10)], app=app)().get(timeout=WAIT) == list(range(1, 11))


def test_a_worker_that_is_lost_leaves_its_tasks_to_the_others(mixed: Cluster) -> None:
    names = [f"n{number}" for number in range(200)]
    for name in names:
        mixed.client.send_task("pains.run", (name, 0.02), ignore_result=True)
    send_until_both_take_part(mixed, names, 0.02)
    mixed.workers[1].kill()
    wait_until(lambda: len(mixed.count("end")) == len(names), what="all tasks", timeout=WAIT)
    doubles = mixed.count("begin").total() - len(names)
    assert doubles <= 64
