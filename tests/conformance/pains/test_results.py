"""What waiting for results costs, and what it costs not to wait for them."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import redis

from tests.conformance.conftest import MakeCluster
from tests.conformance.pains.harness import wait_until


def test_12_who_sends_and_does_not_wait_leaks_no_subscriptions(cluster: MakeCluster, redis_url: str) -> None:
    made = cluster()
    store = redis.Redis.from_url(redis_url)
    known = set(store.pubsub_channels())
    results = [made.send("add", number, 1) for number in range(100)]

    def channels() -> int:
        return sum(b"task-meta" in name for name in set(store.pubsub_channels()) - known)

    if made.hurts:
        wait_until(lambda: channels() == len(results), what="a subscription for each")
    assert channels() == (len(results) if made.hurts else 0)


def test_12_a_result_is_found_though_its_announcement_was_lost(cluster: MakeCluster, redis_url: str) -> None:
    made = cluster()
    sent = made.send("add", 1, 2)
    waiting, outcomes = threading.Event(), list[Any]()

    def wait() -> None:
        try:
            # Long enough for ours to look; Celery's would wait for ever.
            outcomes.append(sent.get(timeout=5 if made.hurts else 60, on_interval=waiting.set))
        except Exception as error:
            outcomes.append(type(error).__name__)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(60)
    meta = {"status": "SUCCESS", "result": 3, "traceback": None, "children": [], "task_id": sent.id}
    redis.Redis.from_url(redis_url).set(f"celery-task-meta-{sent.id}", json.dumps(meta))
    thread.join(120)
    assert outcomes == (["TimeoutError"] if made.hurts else [3])


@pytest.mark.parametrize("side", ["taskyard"], indirect=True)
def test_12_many_threads_wait_with_one_client_whose_connections_are_cut(
    cluster: MakeCluster, redis_url: str
) -> None:
    # Celery 5.7 passes this, too: its threads take turns at one subscription.
    made = cluster()
    made.start("-c", "2")
    store = redis.Redis.from_url(redis_url)
    wrong: list[Any] = []

    def ask(start: int) -> None:
        for number in range(start, start + 25):
            try:
                assert made.send("run", f"n{number}", 0.005).get(timeout=60) == f"n{number}"
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=ask, args=(100 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        store.client_kill_filter(_type="pubsub")
        threads[0].join(0.3)
        threads[-1].join(0.3)
    assert not wrong
    assert made.count("end").total() == 200
