"""The JSON of messages: the same to kombu, whoever wrote it."""

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils import json as kombu_json

from taskyard.broker.envelope import (
    DeadLetters,
    UnreadableMessageError,
    dead,
    dead_letters,
    delivery_count,
    dumps,
    has_types,
    loads,
    mark_redelivered,
    opened,
    parse,
)

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=15,
)
odd: list[Any] = [
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    uuid.UUID(int=5),
    Decimal("1.50"),
    float("inf"),
    2**80,
    "\ud800",
]


@given(plain)
def test_kombu_reads_what_we_write_and_we_what_it_writes(value: Any) -> None:
    assert kombu_json.loads(dumps(value)) == value
    assert loads(kombu_json.dumps(value).encode()) == value


@pytest.mark.parametrize("value", odd, ids=repr)
def test_odd_values_mean_what_they_mean_to_kombu(value: Any) -> None:
    wrapped = {"headers": {"x": [value]}}
    assert kombu_json.loads(dumps(wrapped)) == kombu_json.loads(kombu_json.dumps(wrapped))
    assert loads(dumps(wrapped)) == kombu_json.loads(kombu_json.dumps(wrapped))


def envelope(**headers: Any) -> dict[str, Any]:
    return {
        "body": "",
        "headers": headers,
        "properties": {"delivery_tag": "t", "delivery_info": {"exchange": "x"}},
    }


def test_a_lost_delivery_counts_and_a_returned_one_does_not() -> None:
    message = mark_redelivered(envelope())
    assert delivery_count(message) == 0
    assert "x-delivery-count" not in message["headers"]
    for expected in (1, 2):
        assert delivery_count(mark_redelivered(message, lost=True)) == expected
    assert message["properties"]["delivery_info"] == {"exchange": "x", "redelivered": True}


@pytest.mark.parametrize("count", ["3", None, -1, True, 1.5])
def test_a_strange_count_is_none(count: Any) -> None:
    assert delivery_count(envelope(**{"x-delivery-count": count})) == 0


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"null", "NoneType"),
        (b"{}", "no properties"),
        (b'{"properties": {}}', "delivery_tag"),
        (b'{"properties": {"delivery_tag": 3}}', "delivery_tag"),
        (b'{"properties": {"delivery_tag": "t"}, "headers": 1}', "headers"),
        (b'{"properties": {"delivery_tag": "t", "delivery_info": []}}', "delivery_info"),
    ],
)
def test_flaws_are_named(text: bytes, flaw: str) -> None:
    with pytest.raises(UnreadableMessageError, match=flaw):
        parse(text)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (None, DeadLetters("q.dead", 5)),
        ({}, DeadLetters("q.dead", 5)),
        ({"q": {"queue": "d", "maxDeliveries": 2}}, DeadLetters("d", 2)),
        ({"q": {"queue": "d"}}, DeadLetters("d", 0)),
        ({"*": {"maxDeliveries": 7}}, DeadLetters("q.dead", 7)),
        ({"*": {"maxDeliveries": 0}, "p": {"queue": "d"}}, DeadLetters("q.dead", 0)),
    ],
)
def test_rules(options: dict[str, Any] | None, expected: DeadLetters) -> None:
    assert dead_letters(options, "q") == expected


def test_limits() -> None:
    assert [DeadLetters("d", 2).exhausted(count) for count in (0, 1, 2, 3)] == [False, False, True, True]
    assert not DeadLetters("d", 0).exhausted(1000)


def test_a_dead_letter_belongs_to_its_queue() -> None:
    letter = dead(envelope(**{"x-delivery-count": 2}), reason="r", queue="q", target="d")
    assert letter["properties"]["delivery_info"] == {"exchange": "", "routing_key": "d"}
    death = letter["headers"]["x-taskyard-death"]
    assert (death["reason"], death["queue"], death["deliveries"]) == ("r", "q", 3)


@pytest.mark.parametrize("filling", ["", "a" * 3000])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"body": "%s", "properties": {"x": {"__type__": "uuid"}}}', True),
        ('{"body":"%s","properties":{"__type__":1}}', True),
        ('{"body": "%sx__type__", "properties": {}}', False),
        ('{"body": "%s", "properties": {"__types__": "__type_"}}', False),
        ('{"body": "%s\\"", "headers": {"__type__": 1}}', True),
        ('{"body":null,"__type__":"%s"}', True),
        ('{"body":"__type__","headers":"%s"}', True),
        ('{"headers": {"__type__": 1}, "body": "%s"}', True),
        ('{"headers": {}, "body": "%s"}', False),
        ('{"body', False),
    ],
)
def test_typed_values_are_found_wherever_they_are(text: str, expected: bool, filling: str) -> None:
    """Also behind a long body, which is not searched; a body of that very text is taken for one."""
    text = text.replace("%s", filling)
    assert has_types(text.encode()) is expected


def test_a_body_in_base64_comes_as_bytes() -> None:
    sound = b'{"body": "%s", "properties": {"delivery_tag": "t", "body_encoding": "%s"}}'
    envelope = opened(sound % (b"aGFsbG8=", b"base64"))
    assert envelope is not None
    assert envelope.body == b"hallo"
    envelope = opened(sound % (b"hallo", b""))
    assert envelope is not None
    assert envelope.body == "hallo"
    assert opened(sound % (b"no base64!", b"base64")) is None
