"""Which Redis is reached by a socket of our own, and what kombu calls things there."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from kombu.transport.redis import Channel

from taskyard import App
from taskyard.broker.connection import is_redis
from taskyard.broker.redis.kombu_place import KombuPlace
from taskyard.broker.redis.link import redis_link
from taskyard.broker.redis.names import names_for
from taskyard.broker.redis.place import Cycle, PlainPlace, cycle_for, place_for
from taskyard.broker.redis.plain import Address


def place(url: str, **settings: Any) -> Any:
    return place_for(App("place", broker=url, set_as_current=False, **settings).conf, url)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"global_keyprefix": "shop:", "visibility_timeout": 60},
        {"sep": ":", "priority_steps": [0, 5]},
        {"socket_keepalive": True, "health_check_interval": 30, "max_retries": 3},
        {"fanout_prefix": True, "fanout_patterns": True},
    ],
)
def test_a_socket_is_enough(options: dict[str, Any]) -> None:
    assert type(place("redis://h:1/2", broker_transport_options=options)) is PlainPlace


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("rediss://h", {}),
        ("redis://h", {"broker_use_ssl": True}),
        ("redis://h?ssl_cert_reqs=none", {}),
        ("redis+socket:///run/redis.sock", {}),
        ("sentinel://h:26379;sentinel://i:26379", {}),
        ("redis://h", {"broker_transport_options": {"client_name": "shop"}}),
        ("redis://h", {"broker_transport_options": {"never_heard_of": 1}}),
        ("redis://h", {"broker_transport_options": {"fanout_prefix": False}}),
    ],
)
def test_what_takes_more_is_reached_as_kombu_reaches_it(url: str, settings: dict[str, Any]) -> None:
    assert is_redis(url)
    assert type(place(url, **settings)) is KombuPlace
    conf = App("place", broker=url, set_as_current=False, **settings).conf
    assert redis_link(conf, url, ["q"], print, {}) is not None


@pytest.mark.parametrize("url", ["amqp://h", "sqlite:///tasks.db", "memory://"])
def test_other_brokers_are_no_redis(url: str) -> None:
    assert not is_redis(url)


def test_sockets_are_as_the_options_say() -> None:
    idle = {socket.TCP_KEEPIDLE: 7}
    options = {"socket_keepalive": True, "socket_keepalive_options": idle, "socket_timeout": 2.5}
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}"
        for given, kept, seconds, idle_for in ((options, True, 2.5, 7), ({}, False, 15, None)):
            here = place(url, broker_transport_options=given)
            assert here.reply_seconds == seconds
            connection = here.connection()
            connection.connect()
            sock = connection._sock
            assert sock.gettimeout() == seconds
            assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is kept
            assert idle_for in (None, sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))
            connection.disconnect()


def test_names_are_kombus() -> None:
    names = names_for({})
    assert names.lists("q") == [f"q{Channel.sep * bool(n)}{n or ''}".encode() for n in Channel.priority_steps]
    assert names.bound_to("x").decode() == Channel.keyprefix_queue % "x"
    assert (names.unacked.decode(), names.unacked_index.decode()) == (
        Channel.unacked_key,
        Channel.unacked_index_key,
    )
    assert names.bindings("x", "key", "q")[0][1].decode() == Channel.sep.join(["key", "", "q"])


def test_names_follow_the_options() -> None:
    given = {"global_keyprefix": "p:", "sep": "/", "priority_steps": [0, 5], "unacked_key": "out"}
    names = names_for(given)
    assert names.lists("q") == [b"p:q", b"p:q/5"]
    assert (names.unacked, names.unacked_index) == (b"p:out", b"p:unacked_index")
    assert names.bindings("x", None, "q")[0] == (b"p:_kombu.binding.x", b"//q")


def test_the_order_of_queues() -> None:
    assert type(cycle_for({})) is Cycle
    fixed = cycle_for({"queue_order_strategy": "priority"})
    fixed.update(["b", "a"])
    fixed.rotate("b")
    assert fixed.consume(2) == ["b", "a"]


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("redis://h/3", 3),
        ("rediss://h/3?ssl_cert_reqs=none&ssl_ca_certs=/ca", 3),
        ("redis://h?virtual_host=3", None),
        ("redis+socket:///run/redis.sock", None),
        ("sentinel://h/3", None),
    ],
)
def test_the_address_within(url: str, database: int | None) -> None:
    address = Address.within(url)
    assert (address and address.database) == database
