"""The broker in memory, through client and transport, without a server."""

import os
import threading
from typing import Any

import pytest
from kombu import Exchange, Queue

from taskyard import App
from taskyard.broker.connection import connect
from taskyard.broker.dead_letters import Wanted, open_store
from taskyard.broker.lines import Lines
from taskyard.errors import BrokerError


def receive(url: str, queue: Queue, count: int) -> list[Any]:
    got: list[Any] = []

    def received(body: Any, message: Any) -> None:
        got.append(body)
        message.ack()

    with connect(url) as connection, connection.channel() as channel:
        consumer = connection.Consumer([queue], channel=channel, callbacks=[received])
        with consumer:
            while len(got) < count:
                connection.drain_events(timeout=60)
    return got


def test_threads_share_a_broker_and_priorities_hold() -> None:
    queue = Queue("q", Exchange("q"), "q")
    with connect("memory://shared") as connection:
        producer = connection.Producer()
        for number in range(30):
            producer.publish(number, exchange="", routing_key="q", priority=number % 3, declare=[queue])
    got: list[Any] = []
    reader = threading.Thread(target=lambda: got.extend(receive("memory://shared", queue, 31)))
    reader.start()
    with connect("memory://shared") as connection:
        connection.Producer().publish("woken", exchange="", routing_key="q")
    reader.join(100)
    assert not reader.is_alive()
    expected = sorted(range(30), key=lambda number: number % 3)
    assert [each for each in got if each != "woken"] == expected


def test_brokers_of_different_names_are_apart() -> None:
    with connect("memory://one") as one, connect("memory://two") as two:
        one.Producer().publish("x", exchange="", routing_key="apart")
        assert one.default_channel._size("apart") == 1
        assert two.default_channel._size("apart") == 0


def test_a_topic_exchange_and_a_broadcast() -> None:
    topic, loud = Exchange("t", type="topic"), Exchange("loud", type="fanout")
    queues = [Queue("t1", topic, "a.#"), Queue("t2", topic, "a.b"), Queue("l1", loud), Queue("l2", loud)]
    with connect("memory://topics") as connection:
        channel = connection.default_channel
        for queue in queues:
            queue(channel).declare()
        producer = connection.Producer()
        producer.publish(1, exchange=topic, routing_key="a.c")
        producer.publish(2, exchange=loud)
        assert [channel._size(queue.name) for queue in queues] == [1, 0, 1, 1]


def test_many_at_once_are_few_transactions() -> None:
    app = App("test", broker="memory://bulk")
    app.send_task("first")
    seen: list[str] = []
    with connect("memory://bulk") as connection:
        store = connection.default_channel.session.store
        store._connection.set_trace_callback(seen.append)
        app.send_tasks([("t", (number,), {}, {"priority": number % 2}) for number in range(2500)])
        store._connection.set_trace_callback(None)
        assert connection.default_channel._size("celery") == 2501
    assert seen.count("BEGIN IMMEDIATE") == 3


def test_a_forked_child_is_told_what_to_do_instead() -> None:
    app = App("test", broker="memory://forked")
    app.send_task("before")
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            app.send_task("in the child", retry=False)
        except Exception as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    text = os.read(reader, 10_000).decode()
    os.close(reader)
    assert "lives in one process" in text
    app.send_task("after")


def test_the_pool_of_connections_is_bounded() -> None:
    conf = App("test", broker="memory://pool", broker_pool_limit=2, broker_pool_acquire_timeout=0.05).conf
    lines = Lines(conf)
    first, second = lines.take(), lines.take()
    with pytest.raises(BrokerError, match=r"all 2 connections .* broker_pool_limit"):
        lines.take()
    conf.broker_pool_acquire_timeout = 60
    waiting: list[Any] = []
    thread = threading.Thread(target=lambda: waiting.append(lines.take()))
    thread.start()
    lines.give_back(first)
    thread.join(60)
    assert waiting == [first]
    lines.drop(second)
    third = lines.take()
    assert third is not second
    lines.give_back(third)
    assert lines.take() is third


def test_without_a_pool_each_connection_is_closed_after_its_use() -> None:
    lines = Lines(App("test", broker="memory://nopool", broker_pool_limit=0).conf)
    line = lines.take()
    lines.give_back(line)
    assert lines.take() is not line


def test_dead_letters_there_and_back() -> None:
    app = App("test", broker="memory://dead")
    for number in range(3):
        app.send_task("t", (number,), task_id=f"id-{number}")
    with connect("memory://dead") as connection:
        channel = connection.default_channel
        for number in range(3):
            message = channel.basic_get("celery")
            channel.dead_letter(message.delivery_tag, "bad luck" if number else "good reason")
        channel.flush()
        with open_store(app.conf) as store:
            letters = list(store.letters("celery.dead"))
            assert [(each.id, each.task, each.origin) for each in letters] == [
                (f"id-{number}", "t", "celery") for number in range(3)
            ]
            assert store.size("celery.dead") == 3
            assert store.replay("celery.dead", Wanted(reason="good")) == 1
            assert store.purge("celery.dead", Wanted(ids=frozenset({"id-2"}))) == 1
            assert [each.id for each in store.letters("celery.dead")] == ["id-1"]
        again = channel.basic_get("celery")
        assert again.headers["id"] == "id-0"
        assert "x-taskyard-death" not in again.headers
        assert not again.delivery_info.get("redelivered")
