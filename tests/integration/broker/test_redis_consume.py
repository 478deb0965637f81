"""Consuming: what is taken, what is recorded, what is given back."""

import json
import time
from typing import Any

import pytest
from kombu import Connection

from tests.integration.broker.conftest import Connect
from tests.integration.broker.consuming import Reader, drain, send, until

pytestmark = pytest.mark.redis

LISTS = ("q", "q\x06\x163", "q\x06\x166", "q\x06\x169")


def ready(store: Any, queue: str = "q") -> list[Any]:
    """The values in a queue's main list, in the order in which they will be taken."""
    import base64

    return [
        json.loads(base64.b64decode(json.loads(text)["body"]))
        for text in reversed(store.lrange(queue, 0, -1))
    ]


def test_acknowledged_messages_leave_nothing_behind(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", range(250))
    reader = Reader(connection, "q", prefetch=16, ack=True)
    assert reader.read(250) == list(range(250))
    connection.close()
    left = {key.decode() for key in store.scan_iter()}
    assert {key for key in left if not key.startswith("_kombu.binding")} == set()


def test_unacked_is_kombus_own_format(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", ["x"], headers={"id": "1"})
    original = store.lrange("q", 0, -1)[0]
    Reader(connection, "q").read(1)
    (tag,) = store.hkeys("unacked")
    message, exchange, routing_key = json.loads(store.hget("unacked", tag))
    assert message == json.loads(original)
    assert (exchange, routing_key) == ("", "q")
    assert message["properties"]["delivery_tag"] == tag.decode()
    assert abs(store.zscore("unacked_index", tag) - time.time()) < 60


def test_stock_kombu_can_restore_what_we_hold(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", ["x"], priority=6)
    Reader(connection, "q").read(1)
    (tag,) = store.hkeys("unacked")
    connect("redis").channel().qos.restore_by_tag(tag.decode())
    assert store.llen("q\x06\x166") == 1
    assert store.hlen("unacked") == store.zcard("unacked_index") == 0


@pytest.mark.parametrize("prefetch", [1, 3, 7])
def test_never_more_is_held_than_the_prefetch_count(connect: Connect, store: Any, prefetch: int) -> None:
    connection = connect()
    send(connection, "q", range(20))
    reader = Reader(connection, "q", prefetch=prefetch)
    reader.read(prefetch)
    assert reader.silent()
    assert store.hlen("unacked") == prefetch
    assert store.llen("q") == 20 - prefetch
    reader.messages[0].ack()
    reader.read(prefetch + 1)
    assert store.hlen("unacked") == prefetch


def test_a_lower_prefetch_count_holds_for_what_is_on_its_way(connect: Connect, store: Any) -> None:
    connection = connect()
    reader = Reader(connection, "q", prefetch=10)
    drain(connection, 0.2)
    send(connection, "q", range(10))
    transport = connection.transport
    transport.cycle.turn()
    while not reader.channel._intake._taking:  # the wake-up came, the call that takes ten is on its way
        transport.cycle.poller.poll(1)
        transport.cycle._on_pipe()
        transport.cycle.turn()
    reader.channel.basic_qos(0, 4, False)
    reader.read(4)
    assert reader.silent()
    reader.channel.flush()
    assert store.hlen("unacked") == 4
    assert ready(store) == [4, 5, 6, 7, 8, 9]


def test_priorities_are_taken_in_order(connect: Connect) -> None:
    connection = connect()
    for priority in (9, 3, 0, 6):
        send(connection, "q", [priority], priority=priority)
    assert Reader(connection, "q", prefetch=1, ack=True).read(4) == [0, 3, 6, 9]


def test_priorities_are_taken_in_order_by_one_call(connect: Connect) -> None:
    connection = connect()
    for priority in (9, 3, 0, 6):
        send(connection, "q", [priority], priority=priority)
    assert Reader(connection, "q").read(4) == [0, 3, 6, 9]


@pytest.mark.parametrize("prefetch", [1, 10])
def test_a_full_queue_does_not_starve_another(connect: Connect, prefetch: int) -> None:
    connection = connect()
    send(connection, "busy", ["busy"] * 200)
    send(connection, "calm", ["calm"] * 5)
    reader = Reader(connection, "busy", "calm", prefetch=prefetch, ack=True)
    until(connection, lambda: len(reader.messages) >= 12)
    assert reader.values[:12].count("calm") >= 5 if prefetch == 1 else reader.values[:12].count("calm") >= 4


def test_the_order_of_queues_can_be_strict(connect: Connect) -> None:
    connection = connect(queue_order_strategy="priority")
    send(connection, "second", ["second"] * 3)
    send(connection, "first", ["first"] * 30)
    reader = Reader(connection, "first", "second", prefetch=4, ack=True)
    assert reader.read(33) == ["first"] * 30 + ["second"] * 3


def test_many_queues(connect: Connect) -> None:
    connection = connect()
    names = [f"q{number}" for number in range(60)]
    reader = Reader(connection, *names, ack=True)
    drain(connection, 0.1)
    for name in names:
        send(connection, name, [name])
    assert sorted(reader.read(60)) == sorted(names)


def test_cancel_gives_back_what_was_not_handed_over(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", range(10))
    reader = Reader(connection, "q")
    reader._on_message = lambda _: len(reader.messages) == 3 and reader.consumer.cancel()
    reader.read(3)
    assert store.hlen("unacked") == 3
    assert ready(store) == [3, 4, 5, 6, 7, 8, 9]
    assert reader.silent()
    assert store.llen("q") == 7


def test_cancel_between_taking_and_handing_over(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", range(10))
    reader = Reader(connection, "q")
    connection.transport.cycle.turn()  # the call is on its way, its reply not yet read
    reader.consumer.cancel()
    assert reader.messages == []
    assert ready(store) == list(range(10))
    assert store.hlen("unacked") == store.zcard("unacked_index") == 0


def test_cancel_of_one_queue_leaves_the_other(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", range(3))
    send(connection, "other", ["o"])
    reader = Reader(connection, "q", "other")
    connection.transport.cycle.turn()
    reader.consumer.cancel_by_queue("q")
    assert reader.read(1) == ["o"]
    assert ready(store) == [0, 1, 2]


def test_close_puts_everything_back_in_order(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", range(10))
    reader = Reader(connection, "q", prefetch=6)
    reader.read(6)
    reader.messages[2].ack()
    connection.close()
    assert ready(store) == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert store.exists("unacked", "unacked_index", "taskyard:workers") == 0
    assert not [key for key in store.scan_iter() if key.startswith(b"taskyard:")]


def test_requeue_goes_to_the_head_and_is_marked(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", range(3))
    reader = Reader(connection, "q", prefetch=1)
    reader.read(1)
    reader.messages[0].requeue()
    reader.read(2)
    again = reader.messages[1]
    assert again.decode() == 0
    assert again.delivery_info["redelivered"] is True
    assert again.headers["redelivered"] is True
    assert "x-delivery-count" not in again.headers


def test_requeue_keeps_the_priority(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", ["x"], priority=9)
    reader = Reader(connection, "q", prefetch=1)
    reader.read(1)
    reader.consumer.cancel()
    reader.messages[0].requeue()
    reader.channel.flush()
    assert [store.llen(name) for name in LISTS] == [0, 0, 0, 1]


def test_reject_drops(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", ["x"])
    reader = Reader(connection, "q")
    reader.read(1)
    reader.messages[0].reject()
    reader.channel.flush()
    assert store.exists("q", "unacked", "unacked_index") == 0


def test_an_error_in_a_consumer_loses_no_other_message(connect: Connect) -> None:
    connection = connect()
    send(connection, "q", range(5))

    def fail_once(_: Any) -> None:
        if len(reader.messages) == 2:
            raise RuntimeError("consumer")

    reader = Reader(connection, "q", on_message=fail_once)
    with pytest.raises(RuntimeError, match="consumer"):
        reader.read(5)
    assert reader.read(5) == list(range(5))


def test_acks_outside_of_a_loop_are_sent_at_once(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", ["x"])
    reader = Reader(connection, "q")
    reader.read(1)
    reader.messages[0].ack()
    deadline = time.monotonic() + 10
    while store.hlen("unacked"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_flush_returns_when_the_broker_has_settled(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", range(300))
    reader = Reader(connection, "q")
    reader.read(300)
    for message in reader.messages:
        message.ack()
    reader.channel.flush()
    assert store.exists("unacked", "unacked_index") == 0


def test_no_ack_consumers_hold_nothing(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", range(20))
    with connection.channel() as channel:
        values: list[Any] = []
        channel.basic_consume("q", True, lambda message: values.append(message.decode()), "tag")
        until(connection, lambda: len(values) == 20)
        channel.flush()
        assert store.exists("q", "unacked", "unacked_index") == 0


def test_basic_get(connect: Connect, store: Any) -> None:
    connection = connect()
    with connection.SimpleQueue("q") as queue:
        for value in range(3):
            queue.put(value)
        assert queue.qsize() == 3
        message = queue.get_nowait()
        assert message.payload == 0
        assert store.hlen("unacked") == 1
        message.ack()
        assert queue.get(timeout=5).payload == 1
        assert queue.get(timeout=5).payload == 2
        with pytest.raises(queue.Empty):
            queue.get_nowait()


def test_copies_of_one_publication_are_settled_one_by_one(connect: Connect, store: Any) -> None:
    connection = connect()
    with connection.channel() as channel:
        channel.exchange_declare("both", type="topic")
        for queue in ("a", "b"):
            channel.queue_declare(queue)
            channel.queue_bind(queue, "both", "#")
        message = channel.prepare_message("{}", content_type="application/json", content_encoding="utf-8")
        channel.basic_publish(message, exchange="both", routing_key="x")
    reader = Reader(connection, "a", "b")
    reader.read(2)
    assert store.hlen("unacked") == 2
    reader.messages[0].ack()
    reader.channel.flush()
    assert store.hlen("unacked") == 1
    reader.messages[1].ack()
    reader.channel.flush()
    assert store.exists("unacked", "unacked_index") == 0


def test_the_tag_is_found_beside_a_header_of_that_name(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", ["x"], headers={"delivery_tag": "not this", "text": '"delivery_tag": "nor this"'})
    reader = Reader(connection, "q")
    reader.read(1)
    assert store.hkeys("unacked") == [reader.messages[0].delivery_tag.encode()]
    assert reader.messages[0].headers["delivery_tag"] == "not this"
    reader.messages[0].ack()
    reader.channel.flush()
    assert store.exists("unacked", "unacked_index") == 0


def test_two_channels_share_a_session(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "a", range(50))
    send(connection, "b", range(50))
    first, second = (
        Reader(connection, "a", prefetch=5, ack=True),
        Reader(connection, "b", prefetch=3, ack=True),
    )
    until(connection, lambda: len(first.messages) == len(second.messages) == 50)
    assert store.zcard("taskyard:workers") == 1
    first.channel.close()
    send(connection, "b", ["more"])
    until(connection, lambda: len(second.messages) == 51)


def test_scripts_forgotten_by_the_server_are_sent_again(connect: Connect, store: Any) -> None:
    connection = connect()
    reader = Reader(connection, "q", ack=True)
    drain(connection, 0.1)
    store.script_flush()
    send(connection, "q", range(3))
    assert reader.read(3) == [0, 1, 2]


def test_a_server_out_of_memory_can_be_emptied(connect: Connect, store: Any) -> None:
    connection = connect()
    reader = Reader(connection, "q", prefetch=10, ack=True)
    send(connection, "q", ["x" * 1000] * 200)
    store.config_set("maxmemory", 1_000_000)
    assert len(reader.read(200)) == 200


def test_sizes_count_all_priorities(connect: Connect, store: Any) -> None:
    connection = connect()
    with connection.channel() as channel:
        for priority in (0, 3, 6, 9):
            send(connection, "q", ["x"] * 2, priority=priority)
        assert channel._size("q") == 8
        assert channel.queue_declare("q", passive=True).message_count == 8
        assert channel.queue_purge("q") == 8
        assert channel._size("q") == 0


def test_queue_delete_needs_no_declaration(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", ["x"], priority=3)
    store.zadd("taskyard:schedule:q", {"x": 1e12})
    with connection.channel() as channel:
        channel.queue_delete("q", if_empty=True)
        assert channel._size("q") == 1
        channel.queue_delete("q")
    assert store.exists(*LISTS, "taskyard:schedule:q") == 0


def test_passive_declaration_of_an_unknown_queue(connect: Connect) -> None:
    connection: Connection = connect()
    with (
        connection.channel() as channel,
        pytest.raises(connection.channel_errors, match="no queue 'nowhere'"),
    ):
        channel.queue_declare("nowhere", passive=True)


def test_everything_is_under_the_global_prefix(connect: Connect, store: Any) -> None:
    connection = connect(global_keyprefix="{p}:")
    send(connection, "q", range(4), priority=3)
    reader = Reader(connection, "q")
    reader.read(4)
    reader.messages[0].ack()
    reader.channel.defer(reader.messages[1].delivery_tag, time.time() + 100)
    reader.channel.dead_letter(reader.messages[2].delivery_tag, "because")
    reader.channel.flush()
    assert all(key.startswith(b"{p}:") for key in store.scan_iter())
    assert (
        store.llen("{p}:q.dead") == store.zcard("{p}:taskyard:schedule:q") == store.hlen("{p}:unacked") == 1
    )
