"""What monitoring costs while nobody looks."""

from __future__ import annotations

import threading
from typing import Any

import redis
from kombu import Connection, Exchange

from tests.conformance.conftest import MakeCluster
from tests.conformance.pains.harness import Cluster, wait_until


def published(store: redis.Redis) -> int:
    return int(store.info("commandstats").get("cmdstat_publish", {"calls": 0})["calls"])


def test_16_events_are_sent_only_while_somebody_listens(cluster: MakeCluster, redis_url: str) -> None:
    made = cluster()
    # Celery's monitors see the tasks only of workers with -E; those of ours begin when a monitor comes.
    made.start(*(("-E",) if made.hurts else ()))
    store = redis.Redis.from_url(redis_url)
    listen(made)
    before = published(store)
    for number in range(100):
        made.send("run", f"n{number}", ignore_result=True)
    wait_until(lambda: made.count("end").total() >= 100, what="the tasks")
    # Heartbeats go on, one in two seconds.
    assert (published(store) - before > 50) is made.hurts


def test_16_a_worker_that_was_killed_leaves_no_queue_of_events_that_grows(
    cluster: MakeCluster, redis_url: str
) -> None:
    made = cluster()
    made.gossip = True
    made.start().kill()
    with Connection(redis_url) as connection:
        # By what is bound, as programs publish that do not know how Celery's events go on Redis.
        exchange = Exchange("celeryev", type="topic")
        event = {"type": "worker-heartbeat", "hostname": "other@test", "timestamp": 0.0}
        connection.Producer(serializer="json").publish(
            event, exchange=exchange, routing_key="worker.heartbeat", declare=[exchange]
        )
    # Nobody will ever read it; each worker of Celery's that was killed has one.
    left = list(redis.Redis.from_url(redis_url).scan_iter(match="celeryev.*"))
    assert len(left) == (1 if made.hurts else 0)


def listen(made: Cluster) -> None:
    """Until each kind of event of a task that succeeds was seen."""
    missing = {"task-received", "task-started", "task-succeeded"}
    done = threading.Event()

    def note(event: dict[str, Any]) -> None:
        missing.discard(event["type"])
        if not missing:
            done.set()

    with made.client.connection_for_read() as connection:
        receiver = made.client.events.Receiver(connection, handlers={"*": note})

        thread = threading.Thread(target=lambda: list(receiver.itercapture(timeout=60)))
        thread.start()
        while not done.wait(0.2):
            made.send("run", "seen", ignore_result=True)
        receiver.should_stop = True
        made.send("run", "last", ignore_result=True)
        thread.join(60)
