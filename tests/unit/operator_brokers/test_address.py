"""Broker URLs, and what is said of those that are none."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.url import as_url

from taskyard_operator.api.names import QueueReason
from taskyard_operator.brokers.address import BrokerCredentials, parse_addresses, tls_context
from taskyard_operator.brokers.base import BrokerError
from taskyard_operator.brokers.connect import connect
from taskyard_operator.core.queue_plan import BrokerFamily

SCHEMES = {"amqp": 5672, "amqps": 5671}
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


def credentials(url: str, **more: str) -> BrokerCredentials:
    return BrokerCredentials.from_secret({"url": url, **more}, name="taskyard-broker", key="url")


@given(TEXT, TEXT, TEXT)
def test_what_kombu_writes_is_read(user: str, password: str, vhost: str) -> None:
    url = as_url("amqp", "host", 1234, user, password, as_path(vhost))
    (address,) = parse_addresses(credentials(url), SCHEMES)
    assert (address.host, address.port) == ("host", 1234)
    assert (address.user, address.password, address.path) == (user, password, vhost)


def as_path(vhost: str) -> str:
    from urllib.parse import quote

    return quote(vhost, safe="")


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("amqp://", "", 5672, ""),
        ("amqp://host", "host", 5672, ""),
        ("AMQPS://host/", "host", 5671, ""),
        ("amqp://u:p@host:1/shop", "host", 1, "shop"),
        ("amqp://host//", "host", 5672, "/"),
        ("amqp://[::1]:7//shop", "::1", 7, "/shop"),
    ],
)
def test_parts_and_defaults(url: str, host: str, port: int, path: str) -> None:
    (address,) = parse_addresses(credentials(url), SCHEMES)
    assert (address.host, address.port, address.path) == (host, port, path)


def test_several_addresses() -> None:
    found = parse_addresses(credentials("amqp://u:p@a:1/v;amqp://b;c:3"), SCHEMES)
    assert [(item.scheme, item.host, item.port) for item in found] == [
        ("amqp", "a", 1),
        ("amqp", "b", 5672),
        ("amqp", "c", 3),
    ]


@pytest.mark.parametrize(
    ("url", "family", "identity"),
    [
        ("amqp://u:p@host/shop", BrokerFamily.RABBITMQ, "rabbitmq://host:5672/shop"),
        ("pyamqp://host//", BrokerFamily.RABBITMQ, "rabbitmq://host:5672//"),
        ("amqps://host", BrokerFamily.RABBITMQ, "rabbitmq://host:5671//"),
        ("redis://:p@host:7/3", BrokerFamily.REDIS, "redis://host:7/3"),
        ("rediss://host", BrokerFamily.REDIS, "redis://host:6379/0"),
        ("sentinel://a:1/0;sentinel://b:2/0", BrokerFamily.REDIS, "redis://a:1/0"),
    ],
)
def test_each_scheme_has_its_broker(url: str, family: BrokerFamily, identity: str) -> None:
    broker = connect(credentials(url))
    assert (broker.family, broker.identity) == (family, identity)


@pytest.mark.parametrize(
    ("url", "reason", "words"),
    [
        (
            "sqs://AKIA:hidden@",
            QueueReason.NOT_SUPPORTED,
            "is a URL of Amazon SQS: the operator reads amqp://",
        ),
        ("sqla+postgresql://u:hidden@h", QueueReason.NOT_SUPPORTED, "SQLAlchemy"),
        (
            "sqlite:////data/hidden.db",
            QueueReason.NOT_SUPPORTED,
            "SQLite, a file that the operator cannot see",
        ),
        ("hidden://host", QueueReason.INVALID_URL, "must begin with one of amqp://"),
        ("hidden", QueueReason.INVALID_URL, "is not a broker URL"),
        ("amqp://user:hid#den@host", QueueReason.INVALID_URL, "percent-encode"),
        ("amqp://user:hidden@host:port/", QueueReason.INVALID_URL, "percent-encode"),
        ("amqp://a;redis://:hidden@b", QueueReason.INVALID_URL, "mixes URLs of different brokers"),
        ("redis://:hidden@host/shop", QueueReason.INVALID_URL, "number of a Redis database"),
    ],
)
def test_what_is_no_url_is_told_without_quoting_it(url: str, reason: str, words: str) -> None:
    with pytest.raises(BrokerError) as caught:
        connect(credentials(url))
    assert caught.value.reason == reason
    assert words in caught.value.message
    assert 'key "url" of Secret "taskyard-broker"' in caught.value.message
    assert "hid" not in caught.value.message
    assert caught.value.__cause__ is None


def test_a_missing_key_is_told_with_those_that_are_there() -> None:
    with pytest.raises(
        BrokerError, match=r'key "url" of Secret "s" is missing or empty \(keys: password, user\)'
    ):
        BrokerCredentials.from_secret({"user": "a", "password": "b"}, name="s", key="url")


def test_credentials_and_addresses_keep_their_secrets() -> None:
    held = credentials("amqp://u:hidden@h", **{"management-url": "http://u:hidden@h", "ca.crt": "hidden"})
    (address,) = parse_addresses(held, SCHEMES)
    assert "hidden" not in repr(held) + str(held) + repr(address) + str(address)


def test_certificates_are_verified_unless_the_url_says_otherwise() -> None:
    (strict,) = parse_addresses(credentials("amqps://h"), SCHEMES)
    assert tls_context(strict, None).verify_mode == ssl.CERT_REQUIRED
    for value in ("none", "CERT_NONE"):
        (lax,) = parse_addresses(credentials(f"amqps://h?ssl_cert_reqs={value}"), SCHEMES)
        assert tls_context(lax, None).verify_mode == ssl.CERT_NONE
    with pytest.raises(BrokerError, match="not PEM"):
        tls_context(strict, "nonsense")
