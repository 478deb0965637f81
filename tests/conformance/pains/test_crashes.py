"""What is lost, and what ends, when something breaks at the wrong moment: the wire, a message, a child."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
import redis

from tests.brokers.redis import RedisServer
from tests.conformance.conftest import MakeCluster
from tests.conformance.pains.harness import wait_until
from tests.conformance.pains.proxy import Proxy


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    made = Proxy(redis_server.port)
    yield made
    made.close()


def through(proxy: Proxy, url: str) -> str:
    return f"redis://127.0.0.1:{proxy.port}/{url.rpartition('/')[2]}"


def test_4_a_crash_between_taking_and_recording_loses_nothing(
    cluster: MakeCluster, redis_url: str, proxy: Proxy
) -> None:
    made = cluster()
    store = redis.Redis.from_url(redis_url)
    sent = made.send("run", "x")
    # The last that the worker ever hears or says: the message itself.
    proxy.is_last = lambda data: sent.id.encode() in data
    made.environment["BROKER"] = through(proxy, redis_url)
    first = made.launch()
    wait_until(proxy.cut.is_set, what="the message has been taken")
    time.sleep(0.2)
    first.kill()
    made.environment["BROKER"] = redis_url
    if made.hurts:
        assert (store.llen("celery"), store.hlen("unacked")) == (0, 0)
        return
    assert (store.llen("celery"), store.hlen("unacked")) == (0, 1)
    made.start()
    wait_until(lambda: made.count("end")["x"] == 1, what="the task")


def test_5_a_malformed_message_ends_no_worker(cluster: MakeCluster, redis_url: str) -> None:
    made = cluster()
    worker = made.start()
    store = redis.Redis.from_url(redis_url)
    message = {
        "body": base64.b64encode(b"{}").decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": "pains.add", "id": "an-id", "retries": 0, "lang": "py"},
        "properties": {
            "body_encoding": "base64",
            "correlation_id": "an-id",
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "delivery_mode": 2,
            "delivery_tag": "a-tag",
            "priority": 0,
        },
    }
    store.lpush("celery", json.dumps(message))
    if made.hurts:
        wait_until(worker.ended, what="the end")
        assert "Unrecoverable error" in worker.text()
        assert store.llen("celery") + store.hlen("unacked") == 1, "the next one has it before it"
        return
    assert made.send("add", 1, 1).get(timeout=60) == 2
    (dead,) = map(json.loads, store.lrange("celery.dead", 0, -1))
    assert "body must be [args, kwargs, embed]" in dead["headers"]["x-taskyard-death"]["reason"]
    assert not worker.ended()


@pytest.mark.slow
def test_7_a_connection_that_is_dead_and_says_nothing(
    cluster: MakeCluster, redis_url: str, proxy: Proxy
) -> None:
    made = cluster()
    assert made.client
    made.environment["BROKER"] = through(proxy, redis_url)
    worker = made.start()
    made.send("run", "before")
    wait_until(lambda: made.count("end")["before"], what="the first task")
    proxy.swallow()
    made.send("run", "after")
    if made.hurts:
        time.sleep(40)
        assert not made.count("begin")["after"]
        assert not worker.ended(), "it looks well"
    else:
        wait_until(lambda: made.count("end")["after"], timeout=40, what="the task after it")


@pytest.mark.slow
def test_9_a_child_that_stops_answering_is_replaced(cluster: MakeCluster) -> None:
    made = cluster()
    worker = made.start("-c", "1")
    made.send("run", "before")
    wait_until(lambda: made.count("end")["before"], what="the first task")
    (stuck,) = worker.children()
    os.kill(stuck, signal.SIGSTOP)
    made.send("run", "after")
    if made.hurts:
        time.sleep(20)
        assert not made.count("begin")["after"]
    else:
        wait_until(lambda: made.count("end")["after"], timeout=30, what="the task after it")
        assert stuck not in worker.children()
        assert made.count("begin")["after"] == 1
