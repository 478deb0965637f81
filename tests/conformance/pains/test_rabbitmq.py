"""Pains of those whose broker is RabbitMQ: acknowledgements that come late, and quorum queues."""

from __future__ import annotations

import time

import pytest

from tests.brokers.rabbitmq import impatience
from tests.brokers.vhost import Vhost
from tests.conformance.conftest import MakeCluster
from tests.conformance.pains.harness import wait_until

pytestmark = pytest.mark.slow


def test_14_a_task_longer_than_the_consumer_timeout(cluster: MakeCluster, vhost: Vhost) -> None:
    with impatience(vhost.server, consumer_timeout=3):
        made = cluster(broker=vhost.url)
        worker = made.start("-c", "2")
        made.send("run_late", "long", 12)
        wait_until(lambda: made.count("begin")["long"], what="the task")
        if made.hurts:
            # Celery's worker ends by it after the task, and whoever gets the message next has it before it.
            wait_until(worker.ended, what="the end")
            assert "PRECONDITION_FAILED" in worker.text()
            wait_until(lambda: (vhost.queue("celery") or {}).get("messages") == 1, what="the message")
            return
        wait_until(lambda: made.count("end")["long"], what="its end")
        made.send("run", "after")
        wait_until(lambda: made.count("end")["after"], what="the task after it")
        assert worker.text().count("not run twice") >= 2
        assert made.count("begin")["long"] == 1
        assert not worker.ended()


@pytest.mark.parametrize("side", ["taskyard"], indirect=True)
def test_14_what_another_worker_gets_meanwhile_waits_for_the_first_one_s_lock(
    cluster: MakeCluster, vhost: Vhost
) -> None:
    with impatience(vhost.server, consumer_timeout=3):
        made = cluster(broker=vhost.url)
        made.start("-c", "2")
        made.send("guarded", "long", 15)
        wait_until(lambda: made.count("begin")["long"], what="the task")
        made.start("-c", "2")
        wait_until(lambda: made.count("end")["long"], what="its end")
        wait_until(lambda: (vhost.queue("celery") or {}).get("messages") == 0, what="nothing left")
        made.send("run", "after")
        wait_until(lambda: made.count("end")["after"], what="the task after it")
        assert made.count("begin")["long"] == 1
        # The message went from one to the other.
        assert any("is busy" in worker.text() or "not run twice" in worker.text() for worker in made.workers)


def test_15_tasks_for_later_do_not_fill_a_worker_of_a_quorum_queue(
    cluster: MakeCluster, vhost: Vhost
) -> None:
    made = cluster(broker=vhost.url, QUEUE_TYPE="quorum")
    worker = made.start()
    assert (vhost.queue("celery") or {})["type"] == "quorum"
    for number in range(4):
        made.send("run", f"later{number}", countdown=3600)
    if made.hurts:
        wait_until(lambda: worker.text().count(" received") == 4, what="those for later")
    made.send("run", "now")
    if made.hurts:
        # Its four prefetched messages are those for later, and the number cannot grow on a quorum queue.
        time.sleep(5)
        assert not made.count("begin")["now"]
    else:
        wait_until(lambda: made.count("end")["now"], what="the task for now")
        wait_until(lambda: (vhost.queue("celery") or {}).get("messages") == 0, what="nothing held")
