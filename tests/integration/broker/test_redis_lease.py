"""Leases, schedules and dead letters: where a message is when its worker is not."""

import json
import time
from typing import Any

import pytest

from taskyard.broker.leases import LeaseRules
from taskyard.broker.redis import lease
from taskyard.errors import ImproperlyConfigured
from tests.integration.broker.conftest import Connect
from tests.integration.broker.consuming import Reader, drain, send, until

pytestmark = pytest.mark.redis

LONG_AGO = 1_000_000_000


def lose_worker(store: Any, connection: Any) -> None:
    """Make a worker look as if it had been silent for years, without letting it say anything more."""
    store.zadd("taskyard:workers", {connection.transport.session.worker: LONG_AGO})


def heads(text: bytes) -> dict[str, Any]:
    headers: dict[str, Any] = json.loads(text)["headers"]
    return headers


def test_a_lost_workers_messages_come_back_counted_and_first(connect: Connect, store: Any) -> None:
    lost = connect()
    send(lost, "q", ["a", "b"], priority=3)
    Reader(lost, "q").read(2)
    send(lost, "q", ["later"], priority=3)
    lose_worker(store, lost)
    reader = Reader(connect(), "q", prefetch=1, ack=True)
    assert sorted(reader.read(3)[:2]) == ["a", "b"]
    assert [message.headers.get("x-delivery-count") for message in reader.messages] == [1, 1, None]
    assert reader.messages[0].delivery_info["redelivered"] is True
    reader.channel.flush()
    assert store.exists("unacked", "unacked_index") == 0
    own = [reader.connection.transport.session.worker.encode()]
    until(reader.connection, lambda: store.zrange("taskyard:workers", 0, -1) == own)


def test_more_are_reclaimed_than_one_call_moves(connect: Connect, store: Any) -> None:
    lost = connect()
    send(lost, "q", range(250))
    Reader(lost, "q").read(250)
    lose_worker(store, lost)
    values = Reader(connect(), "q", prefetch=1, ack=True).read(250)
    assert sorted(values) == list(range(250))
    assert values[3:] == sorted(values[3:])  # a few are taken while the others are still being put back


def test_a_worker_that_was_taken_for_lost_settles_nothing_of_others(connect: Connect, store: Any) -> None:
    slow = connect()
    send(slow, "q", ["a", "b"])
    old = Reader(slow, "q")
    old.read(2)
    lose_worker(store, slow)
    new = Reader(connect(), "q")
    new.read(2)
    for message in old.messages:
        message.ack()
    old.channel.flush()
    assert slow.transport.session.lost == 2
    assert store.hlen("unacked") == 2
    new.messages[0].ack()
    new.channel.flush()
    assert store.hlen("unacked") == 1


def test_a_worker_that_gets_its_own_message_back_goes_on_with_it(connect: Connect, store: Any) -> None:
    connection = connect(lease_seconds=3)
    send(connection, "q", ["a"])
    reader = Reader(connection, "q")
    reader.read(1)
    lose_worker(store, connection)
    helper = connect()
    Reader(helper, "other")  # reclaims at its start
    until(connection, lambda: store.hlen("unacked") == 1 and not store.exists("q"))
    assert reader.silent()
    assert store.hlen("unacked") == 1
    reader.messages[0].ack()
    reader.channel.flush()
    assert connection.transport.session.lost == 0
    assert store.exists("unacked", "q") == 0


def test_a_live_worker_keeps_its_messages(connect: Connect, store: Any) -> None:
    connection = connect(lease_seconds=30)
    send(connection, "q", ["a"])
    reader = Reader(connection, "q")
    reader.read(1)
    other = Reader(connect(lease_seconds=30), "q")
    worker = connection.transport.session.worker
    for _ in range(3):
        # Silent for more than half of its lease, then with a beat.
        silent = time.time() - 18
        store.zadd("taskyard:workers", {worker: silent})
        other.connection.transport.lease._reclaim_at = 0
        drain(other.connection, 0.2)
        connection.transport.lease._beat_at = 0
        until(connection, lambda silent=silent: store.zscore("taskyard:workers", worker) > silent + 9)  # type: ignore[misc]
    assert other.messages == []
    assert store.hlen("unacked") == 1


@pytest.mark.parametrize("hung_up", [True, False])
def test_who_is_silent_and_has_hung_up_is_lost_before_the_lease_has_ended(
    connect: Connect, store: Any, monkeypatch: pytest.MonkeyPatch, hung_up: bool
) -> None:
    monkeypatch.setattr(LeaseRules, "quiet", 1.0)  # the others have waited for it to connect again
    connection = connect(lease_seconds=300)
    send(connection, "q", ["a"])
    Reader(connection, "q").read(1)
    session = connection.transport.session
    if hung_up:
        session.pipe.close()  # as the kernel does for a process that was killed
    store.zadd("taskyard:workers", {session.worker: time.time() - 20})
    other = Reader(connect(lease_seconds=300), "q", ack=True)

    def has_it() -> bool:
        other.connection.transport.lease._beat_at = 0
        return bool(other.messages)

    if hung_up:
        until(other.connection, has_it)
        assert other.messages[0].headers["x-delivery-count"] == 1
        until(other.connection, lambda: store.zcard("taskyard:workers") == 1)
    else:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert not has_it()
            drain(other.connection, 0.2)
        assert store.hlen("unacked") == 1


def test_renewal_keeps_stock_kombu_from_restoring(connect: Connect, store: Any) -> None:
    connection = connect(visibility_timeout=21)
    send(connection, "q", ["a"])
    reader = Reader(connection, "q")
    reader.read(1)
    stock = connect("redis", visibility_timeout=21).channel()
    (tag,) = store.hkeys("unacked")
    for _ in range(3):
        taken = time.time() - 14  # when the renewal is due, by the lease's rules
        store.zadd("unacked_index", {tag: taken})
        stock.qos.restore_visible(interval=1)
        assert connection.transport.lease._renew_at - time.monotonic() <= 7
        connection.transport.lease.renew_soon()
        until(connection, lambda taken=taken: store.zscore("unacked_index", tag) > taken + 7)  # type: ignore[misc]
    assert store.hlen("unacked") == 1
    assert store.llen("q") == 0


def test_what_stock_kombu_left_returns_after_the_visibility_timeout(connect: Connect, store: Any) -> None:
    stock = connect("redis")
    send(stock, "q", ["a"], priority=6)
    Reader(stock, "q").read(1)
    (tag,) = store.hkeys("unacked")
    reader = Reader(connect(visibility_timeout=100), "q", ack=True)
    assert reader.silent()
    store.zadd("unacked_index", {tag: time.time() - 101})
    reader.connection.transport.lease._reclaim_at = 0
    assert reader.read(1) == ["a"]
    assert "x-delivery-count" not in reader.messages[0].headers
    assert reader.messages[0].delivery_info["redelivered"] is True


def test_what_stock_kombu_left_goes_where_its_exchange_routes(connect: Connect, store: Any) -> None:
    stock = connect("redis")
    with stock.channel() as channel:
        channel.exchange_declare("x", type="direct")
        for queue in ("a", "b"):
            channel.queue_bind(queue, "x", "key")
    message = {"body": "e30=", "content-type": "application/json", "content-encoding": "utf-8", "headers": {}}
    message["properties"] = {
        "delivery_tag": "t",
        "delivery_info": {},
        "body_encoding": "base64",
        "priority": 0,
    }
    store.hset("unacked", "t", json.dumps([message, "x", "key"]))
    store.zadd("unacked_index", {"t": LONG_AGO})
    reader = Reader(connect(), "a", "b", ack=True)
    until(reader.connection, lambda: len(reader.messages) == 2)
    assert store.exists("unacked") == 0


def test_a_message_that_loses_workers_becomes_a_dead_letter(connect: Connect, store: Any) -> None:
    rules = {"q": {"queue": "graveyard", "maxDeliveries": 3}}
    send(connect(), "q", ["poison"])
    for _ in range(3):
        victim = connect(dead_letters=rules)
        Reader(victim, "q").read(1)
        lose_worker(store, victim)
        victim.transport.session.pipe.close()
    reader = Reader(connect(dead_letters=rules), "q")
    until(
        reader.connection, lambda: store.exists("graveyard") and not store.exists("unacked", "unacked_index")
    )
    assert reader.silent()
    (text,) = store.lrange("graveyard", 0, -1)
    death = heads(text)["x-taskyard-death"]
    assert (death["queue"], death["deliveries"]) == ("q", 3)
    assert "3 times" in death["reason"]
    assert abs(death["time"] - time.time()) < 60
    assert store.exists("unacked", "unacked_index", "q") == 0


def test_the_consumer_applies_the_limit_that_a_reclaimer_does_not_know(connect: Connect, store: Any) -> None:
    send(connect(), "q", ["poison"])
    text = json.loads(store.rpop("q"))
    text["headers"]["x-delivery-count"] = 2
    store.lpush("q", json.dumps(text))
    reader = Reader(connect(dead_letters={"*": {"maxDeliveries": 2}}), "q")
    until(reader.connection, lambda: store.llen("q.dead") == 1)
    assert reader.messages == []


def test_a_dead_letter_is_an_ordinary_message(connect: Connect, store: Any) -> None:
    connection = connect(dead_letters={"q": {"queue": "graveyard", "maxDeliveries": 5}})
    send(connection, "q", [{"a": 1}], headers={"id": "7"})
    reader = Reader(connection, "q")
    reader.read(1)
    reader.channel.dead_letter(reader.messages[0].delivery_tag, "no such task")
    reader.channel.flush()
    assert store.exists("unacked", "unacked_index") == 0
    stock = Reader(connect("redis"), "graveyard")
    assert stock.read(1) == [{"a": 1}]
    message = stock.messages[0]
    assert message.headers["id"] == "7"
    assert message.headers["x-taskyard-death"]["reason"] == "no such task"
    assert message.headers["x-taskyard-death"]["deliveries"] == 1
    message.requeue()
    assert store.llen("graveyard") == 1
    assert store.llen("q") == 0


NO_INFO = b'"delivery_info": {}'

UNREADABLE = {
    "not JSON": b"\xff\xfe garbage",
    "no object": b"[1, 2]",
    "no properties": b'{"body": ""}',
    "no tag": b'{"body": "", "properties": {}}',
    "cut off": b'{"body": "", "properties": {"delivery_tag": "cut", ',
    "body": b'{"body": "YQ", "properties": {"delivery_tag": "b", "body_encoding": "base64", %b}}' % NO_INFO,
    "encoding": b'{"body": "!", "properties": {"delivery_tag": "e", "body_encoding": "rot13", %b}}' % NO_INFO,
    "headers": b'{"headers": 3, "body": "", "properties": {"delivery_tag": "h", "delivery_info": {}}}',
    "info": b'{"body": "", "properties": {"delivery_tag": "i", "delivery_info": 7}}',
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_what_nobody_can_read_becomes_a_dead_letter(connect: Connect, store: Any, text: bytes) -> None:
    connection = connect()
    send(connection, "q", ["before"])
    store.lpush("q", text)
    send(connection, "q", ["after"])
    reader = Reader(connection, "q", ack=True)
    assert sorted(reader.read(2)) == ["after", "before"]
    reader.channel.flush()
    assert store.exists("unacked", "unacked_index", "q") == 0
    (letter,) = store.lrange("q.dead", 0, -1)
    assert "unreadable" in heads(letter)["x-taskyard-death"]["reason"]
    stock = connect("redis").channel().basic_get("q.dead")
    assert stock.headers["x-taskyard-death"]["queue"] == "q"


def test_deferred_messages_wait_in_the_broker(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", ["a"], priority=6)
    reader = Reader(connection, "q", prefetch=1)
    reader.read(1)
    due = time.time() + 600
    reader.channel.defer(reader.messages[0].delivery_tag, due)
    reader.channel.flush()
    assert store.exists("unacked", "unacked_index") == 0
    ((text, score),) = store.zrange("taskyard:schedule:q", 0, -1, withscores=True)
    assert score == pytest.approx(due, abs=0.001)
    send(connection, "q", ["b"])
    reader.read(2)
    reader.messages[1].ack()
    due = time.time() + 1
    store.zadd("taskyard:schedule:q", {text: due})
    connection.transport.lease._due_at = 0
    reader.read(3)
    assert time.time() >= due
    assert reader.messages[2].decode() == "a"
    assert reader.messages[2].properties["priority"] == 6


def test_a_starting_consumer_moves_what_is_due_at_once(
    connect: Connect, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "DUE_SECONDS", 120.0)  # no second look in time
    connection = connect()
    for priority in (6, 0):
        send(connection, "q", [priority], priority=priority)
        store.zadd(
            "taskyard:schedule:q", {store.rpop("q" if not priority else "q\x06\x166"): LONG_AGO + priority}
        )
    reader = Reader(connection, "q", prefetch=1)
    assert reader.read(1) == [0]
    assert store.llen("q\x06\x166") == 1


def test_due_messages_of_one_moment_keep_their_order(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", range(150))
    for number in range(150):
        store.zadd("taskyard:schedule:q", {store.rpop("q"): LONG_AGO + number})
    reader = Reader(connection, "q", prefetch=1, ack=True)
    assert reader.read(150) == list(range(150))


def test_settling_what_is_not_held_is_no_error(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", ["a"])
    reader = Reader(connection, "q")
    reader.read(1)
    tag = reader.messages[0].delivery_tag
    for _ in range(2):
        reader.channel.basic_ack(tag)
        reader.channel.dead_letter(tag, "twice")
        reader.channel.defer(tag, time.time())
        reader.channel.basic_reject(tag, requeue=True)
    reader.channel.flush()
    assert store.exists("q", "q.dead", "unacked", "taskyard:schedule:q") == 0


def test_bad_options_are_named(connect: Connect) -> None:
    with pytest.raises(ImproperlyConfigured, match="lease_seconds must be"):
        Reader(connect(lease_seconds=1), "q")
