"""Several brokers: how they are written, and which is next."""

from itertools import islice

import pytest

from taskyard import App
from taskyard.broker.addresses import Addresses, addresses_for, split_urls
from taskyard.broker.connection import connect, refuse_unusable
from taskyard.errors import ImproperlyConfigured


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        ("redis://a", ["redis://a"]),
        ("amqp://a;amqp://b/v", ["amqp://a", "amqp://b/v"]),
        (["amqp://a", "amqp://b;amqp://c"], ["amqp://a", "amqp://b", "amqp://c"]),
        ("sentinel://a:1;sentinel://b:2", ["sentinel://a:1;sentinel://b:2"]),
        ("amqp://a; ", ["amqp://a"]),
    ],
)
def test_urls(value: str | list[str], urls: list[str]) -> None:
    assert split_urls(value) == urls


def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="is empty"):
        split_urls(";")
    with pytest.raises(ImproperlyConfigured, match="has no scheme"):
        split_urls("amqp://a;localhost")


def test_round_robin_comes_back_to_the_first() -> None:
    addresses = Addresses("amqp://a;amqp://b;amqp://c")
    assert addresses.current == "amqp://a"
    assert [addresses.failed() for _ in range(4)] == ["amqp://b", "amqp://c", "amqp://a", "amqp://b"]


def test_shuffle_takes_each_once_a_round() -> None:
    addresses = Addresses([f"amqp://{name}" for name in "abcde"], "shuffle")
    first = [addresses.current, *(addresses.failed() for _ in range(4))]
    assert sorted(first) == addresses.urls
    assert len({tuple(Addresses(addresses.urls, "shuffle").urls) for _ in range(3)}) == 1


def test_a_strategy_of_ones_own() -> None:
    addresses = Addresses("amqp://a;amqp://b", lambda urls: islice(reversed(urls), 2))
    assert addresses.current == "amqp://b"
    assert addresses.failed() == "amqp://a"
    assert addresses.failed() == "amqp://a"
    with pytest.raises(ImproperlyConfigured, match="round-robin, shuffle or a function, not 'best'"):
        Addresses("amqp://a", "best")


def test_reading_and_writing_may_go_to_different_brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKYARD_BROKER_URL", raising=False)
    conf = App("test", broker_read_url="amqp://r", broker_write_url=["amqp://w1", "amqp://w2"]).conf
    assert addresses_for(conf, write=False).urls == ["amqp://r"]
    assert addresses_for(conf, write=True).urls == ["amqp://w1", "amqp://w2"]


@pytest.mark.parametrize("url", ["redis://host/jobs", "rediss://host/jobs", "sentinel://host/jobs"])
def test_a_redis_database_is_a_number(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="the database is a number, as in redis://host:6379/0"):
        refuse_unusable(url)
    refuse_unusable(url.replace("jobs", "3"))


def test_an_option_that_no_connection_takes_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"cannot have the option 'socket_timeout': .* broker_tr"):
        connect("redis://host/0?socket_timeout=30")


def test_a_file_without_a_host_is_nothing_to_warn_of(caplog: pytest.LogCaptureFixture) -> None:
    assert connect("sqlite:///tasks.db").info()["hostname"] is None
    assert not caplog.records
