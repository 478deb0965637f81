"""Publishing to real brokers: many at once, and with connections of the caller's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Exchange, Queue

from taskyard import App
from taskyard.errors import BrokerError
from tests.brokers.vhost import Vhost


@pytest.fixture(params=["redis", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def app(request: Any) -> Iterator[App]:
    found = request.getfixturevalue("redis_url" if request.param == "redis" else "vhost")
    url = found if isinstance(found, str) else found.url
    with App("publishing", broker=url, set_as_current=False) as app:
        yield app


def received(app: App, queue: str | Queue, count: int) -> list[Any]:
    """So many messages, and there are no more."""
    with app.connection_for_read() as connection, connection.SimpleQueue(queue) as waiting:
        messages: list[Any] = []
        for _ in range(count):
            messages.append(waiting.get(block=True, timeout=30))
            messages[-1].ack()
        with pytest.raises(waiting.Empty):
            waiting.get(block=True, timeout=0.3)
        return messages


def test_many_tasks_arrive_in_order_once(app: App) -> None:
    results = app.send_tasks([("bulk.add", (number,), {}, {"queue": "bulk"}) for number in range(1200)])
    messages = received(app, "bulk", 1200)
    assert [message.payload[0][0] for message in messages] == list(range(1200))
    assert [message.headers["id"] for message in messages] == [result.id for result in results]


def test_many_that_are_alike_are_as_if_sent_alone(app: App) -> None:
    """Each argument is sent twice: alone, and as one of many of which only the first is composed."""
    options = {"queue": "alike", "priority": 3, "group_id": "100%"}
    arguments: list[Any] = [
        ("first",),
        ("100 %s ü",),
        ("\ud800",),
        ("long" * 50_000,),
        ({"deep": [None, 1.5]},),
    ]
    calls: list[Any] = [
        ("t", each, {"k%": number}, {**options, "task_id": f"%{number}", "group_index": number})
        for number, each in enumerate(arguments)
    ]
    app.send_tasks([*calls, ("t", ("last",), {}, options)])
    for call in calls:
        app.send_tasks([call])
    messages = received(app, "alike", 2 * len(calls) + 1)
    together, last, alone = messages[: len(calls)], messages[len(calls)], messages[len(calls) + 1 :]
    for one, other in zip(together, alone, strict=True):
        assert (one.headers, one.payload) == (other.headers, other.payload)
        for properties in (one.properties, other.properties):
            properties.pop("delivery_tag", None)
        assert one.properties == other.properties
        assert one.content_type == other.content_type
    assert (last.headers["group_index"], last.headers["id"]) == (None, last.headers["root_id"])
    assert last.properties["correlation_id"] == last.headers["id"]


def test_the_same_call_again_and_again(app: App) -> None:
    results = [app.send_task("t", (number, "ü"), queue="again", priority=3) for number in range(4)]
    messages = received(app, "again", 4)
    assert [message.payload[0] for message in messages] == [[number, "ü"] for number in range(4)]
    assert [message.headers["id"] for message in messages] == [result.id for result in results]
    first, *others = messages
    for other in others:  # the third and the fourth were not composed
        for name, own in (("headers", ("id", "root_id", "argsrepr")), ("properties", ("correlation_id",))):
            known, found = getattr(first, name), getattr(other, name)
            apart = {*own, "application_headers", "delivery_tag", "delivery_info"}
            assert {k: v for k, v in found.items() if k not in apart} == {
                k: v for k, v in known.items() if k not in apart
            }
        assert other.properties["correlation_id"] == other.headers["root_id"] == other.headers["id"]


def test_many_tasks_to_several_queues_and_exchanges(app: App) -> None:
    topic = Exchange("bulk-topic", "topic")
    app.conf.task_queues = [Queue("bulk.a"), Queue("bulk.t", topic, "t.#")]
    app.send_tasks(
        [("t", (number,), {}, {"queue": "bulk.a" if number % 2 else "bulk.t"}) for number in range(10)]
    )
    app.send_task("t", (10,), exchange=topic, routing_key="t.more")
    assert [message.payload[0][0] for message in received(app, "bulk.a", 5)] == [1, 3, 5, 7, 9]
    assert [message.payload[0][0] for message in received(app, "bulk.t", 6)] == [0, 2, 4, 6, 8, 10]


def test_a_producer_of_the_callers(app: App) -> None:
    with app.producer_or_acquire() as producer:
        app.send_task("t", (1,), queue="own", producer=producer, expires=60, priority=3, headers={"x": "y"})
    with app.connection_for_write() as connection:
        app.send_task("t", (2,), queue="own", connection=connection)
    # Redis and RabbitMQ do not agree which priority comes first.
    first, second = sorted(received(app, "own", 2), key=lambda message: message.payload[0])
    assert (first.payload[0], first.headers["x"], first.properties["priority"]) == ([1], "y", 3)
    assert 0 < int(first.properties["expiration"]) <= 60_000
    assert second.payload[0] == [2]


def test_threads_and_forks_share_an_app(app: App) -> None:
    def send(number: int) -> None:
        app.send_task("t", (number,), queue="threads")

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(message.payload[0][0] for message in received(app, "threads", 8)) == list(range(8))


@pytest.mark.rabbitmq
def test_messages_that_rabbitmq_refuses_are_an_error(vhost: Vhost) -> None:
    full = Queue("bulk.full", queue_arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    with App("refused", broker=vhost.url, set_as_current=False, task_queues=[full]) as app:
        with pytest.raises(BrokerError, match="refused 2 of 3"):
            app.send_tasks([("t", (number,), {}, {"queue": "bulk.full"}) for number in range(3)])
        received(app, full, 1)
