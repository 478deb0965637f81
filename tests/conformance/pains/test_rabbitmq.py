"""Pains of those whose broker is RabbitMQ: acknowledgements that come late, and quorum queues."""

from __future__ import annotations

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
            assert vhost.queue("celery")["messages"] == 1
            return
        wait_until(lambda: made.count("end")["long"], what="its end")
        made.send("run", "after")
        wait_until(lambda: made.count("end")["after"], what="the task after it")
        assert worker.text().count("not run twice") >= 2
        assert made.count("begin")["long"] == 1
        assert not worker.ended()
