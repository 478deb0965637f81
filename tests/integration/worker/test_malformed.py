"""Messages that are no task messages go to the dead letters with a reason, and the worker works on."""

from __future__ import annotations

import json
import signal
import uuid
from typing import Any

import pytest
from kombu import Connection

from taskyard import App
from taskyard.broker.connection import connect
from tests.brokers.vhost import Vhost
from tests.integration.worker.harness import Broker, StartWorker, WorkerProcess, wait_until


def headers(**changes: Any) -> dict[str, Any]:
    made = {
        "task": "jobs.add",
        "id": str(uuid.uuid4()),
        "retries": 0,
        "timelimit": [None, None],
        "lang": "py",
    }
    made.update(changes)
    return {name: value for name, value in made.items() if value is not ...}


GOOD = json.dumps([[1, 2], {}, None])
CORPUS: dict[str, tuple[dict[str, Any], str | bytes]] = {
    "body is an object": ({}, "{}"),
    "body is null": ({}, "null"),
    "body has two elements": ({}, "[[1], {}]"),
    "body is no JSON": ({}, "{not json"),
    "body is empty": ({}, ""),
    "body is not UTF-8": ({}, b"\xff\xfe\x00"),
    "args are an object": ({}, '[{"a": 1}, {}, null]'),
    "kwargs are a list": ({}, "[[], [], null]"),
    "embed is a number": ({}, "[[], {}, 7]"),
    "callbacks are a string": ({}, '[[], {}, {"callbacks": "x"}]'),
    "nested too deeply": ({}, "[" * 100_000 + "]" * 100_000),
    "unknown extended type": ({}, '[[{"__type__": "nope", "__value__": 1}], {}, null]'),
    "task is a number": ({"task": 5}, GOOD),
    "task is empty": ({"task": ""}, GOOD),
    "id is missing": ({"id": ...}, GOOD),
    "id is a list": ({"id": ["x"]}, GOOD),
    "eta is nonsense": ({"eta": "tomorrow"}, GOOD),
    "eta is a list": ({"eta": [1]}, GOOD),
    "expires is nonsense": ({"expires": "never"}, GOOD),
    "timelimit is a number": ({"timelimit": 5}, GOOD),
    "timelimit holds text": ({"timelimit": ["a", "b"]}, GOOD),
    "retries is text": ({"retries": "many"}, GOOD),
    "no task header, no task body": ({"task": ..., "id": ...}, '{"some": "thing"}'),
    "no headers at all": ({"task": ..., "id": ..., "retries": ..., "timelimit": ..., "lang": ...}, "[]"),
}
CONTENT: dict[str, tuple[str | None, str | bytes]] = {
    "pickle is not accepted": ("application/x-python-serialize", b"cos\nsystem\n(S'true'\ntR."),
    "unknown content type": ("application/data", b"xx"),
    "no content type": (None, GOOD),
}


def publish(
    url: str, own_headers: dict[str, Any], body: str | bytes, content_type: str | None = "application/json"
) -> None:
    with connect(url) as connection:
        channel = connection.channel()
        amqp = connection.transport.driver_type == "amqp"
        connection.SimpleQueue("celery").close()
        message = channel.prepare_message(
            body.encode() if isinstance(body, str) else body,
            priority=0,
            content_type=content_type,
            content_encoding="utf-8" if content_type else None,
            headers=own_headers,
            properties={} if amqp else {"delivery_info": {"exchange": "", "routing_key": "celery"}},
        )
        channel.basic_publish(message, exchange="", routing_key="celery")


def test_the_corpus(broker: Broker, client: App, start_worker: StartWorker) -> None:
    worker = start_worker(broker, "-c", "2", "--loglevel", "info")
    children = worker.children()
    for changes, body in CORPUS.values():
        publish(broker.url, headers(**changes), body)
    for content_type, body in CONTENT.values():
        publish(broker.url, headers(), body, content_type)
    total = len(CORPUS) + len(CONTENT)

    def malformed() -> int:
        text = worker.request("GET", "/metrics")[1]
        return int(text.split("\ntaskyard_worker_malformed_messages_total ")[1].split()[0])

    wait_until(lambda: malformed() >= total, what="all malformed messages")
    assert malformed() == total
    wait_until(lambda: worker.state()["held"] == 0, what="nothing held")
    assert client.send_task("jobs.add", (2, 2)).get(timeout=60) == 4
    assert worker.children() == children
    assert "Traceback" not in worker.text()
    lines = [line for line in worker.text().splitlines() if "goes to the dead letters" in line]
    assert len(lines) == total
    if broker.kind == "redis":
        import redis

        store = redis.Redis.from_url(broker.url)
        dead = [json.loads(text) for text in store.lrange("celery.dead", 0, -1)]
        assert len(dead) == total
        assert all(each["headers"]["x-taskyard-death"]["reason"] for each in dead)
        wait_until(lambda: store.hlen("unacked") == 0, what="nothing unacknowledged")


@pytest.mark.redis
def test_redis_lists_can_hold_anything(redis_broker: Broker, start_worker: StartWorker) -> None:
    import redis

    store = redis.Redis.from_url(redis_broker.url)
    worker = start_worker(redis_broker)
    for text in (b"", b"nonsense", b"{}", b"null", b"[1,2]", b'{"properties": {}}', b"\xff\x00"):
        store.lpush("celery", text)
    wait_until(lambda: store.llen("celery.dead") == 7, what="seven dead letters")
    client = App("client", broker=redis_broker.url, backend=redis_broker.backend)
    assert client.send_task("jobs.add", (2, 2)).get(timeout=60) == 4
    assert "Traceback" not in worker.text()


@pytest.mark.rabbitmq
def test_a_queue_of_any_kind_is_taken_as_it_is(amqp_broker: Broker, start_worker: StartWorker) -> None:
    with Connection(amqp_broker.url) as connection:
        channel = connection.channel()
        channel.queue_declare(
            "q-quorum", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"}
        )
        channel.queue_declare("q-short", durable=True, auto_delete=False, arguments={"x-max-length": 1000})
        channel.queue_declare("q-dead", durable=True, auto_delete=False)
        channel.queue_declare(
            "q-dlx", durable=True, auto_delete=False,
            arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q-dead"},
        )  # fmt: skip
    worker = start_worker(amqp_broker, "-Q", "q-quorum,q-short,q-dlx", "-c", "2")
    client = App("client", broker=amqp_broker.url, backend=amqp_broker.backend)
    for queue in ("q-quorum", "q-short", "q-dlx"):
        results = [client.send_task("jobs.add", (n, n), queue=queue) for n in range(50)]
        assert [result.get(timeout=60) for result in results] == [2 * n for n in range(50)]
        assert client.send_task("jobs.add", (1, 1), queue=queue, countdown=2.5).get(timeout=60) == 2
        assert client.send_task("jobs.die_once", (queue,), queue=queue).get(timeout=60) == "survived"
    bad = client.send_task("jobs.nowhere", queue="q-dlx")
    with Connection(amqp_broker.url) as connection:
        channel = connection.channel()
        message = wait_until(lambda: channel.basic_get("q-dead", no_ack=True), what="the dead letter")
    assert message.headers["id"] == bad.id
    worker.drain()
    worker.resume()
    assert client.send_task("jobs.add", (3, 3), queue="q-quorum").get(timeout=60) == 6
    assert worker.stop() == 0


@pytest.mark.rabbitmq
def test_classic_queues_have_a_delivery_limit(
    amqp_broker: Broker, start_worker: StartWorker, vhost: Vhost
) -> None:
    from taskyard.errors import WorkerLostError

    rules = '{"celery": {"queue": "celery.dead", "maxDeliveries": 2}}'
    environment = {"TASKYARD_DEAD_LETTERS": rules}
    client = App("client", broker=amqp_broker.url, backend=amqp_broker.backend)
    result = client.send_task("jobs.begin_and_mark", ("poison", 60))
    for runs in (1, 2):
        worker = start_worker(amqp_broker, environment=environment)

        def begun(runs: int = runs, worker: WorkerProcess = worker) -> bool:
            if worker.count()["begin poison"] != runs:
                return False
            # A copy that counts takes the message's place; until the message is acknowledged both come again.
            held = vhost.server.ctl("list_queues", "--vhost", vhost.name, "name", "messages_unacknowledged")
            return "celery\t1" in held.splitlines()

        wait_until(begun, what=f"run {runs}")
        worker.signal(signal.SIGKILL)
        worker.wait()
    worker = start_worker(amqp_broker, environment=environment)
    with pytest.raises(WorkerLostError, match="2 times"):
        result.get(timeout=60)
    assert worker.count()["begin poison"] == 2
