"""JSON that means the same to kombu, whichever encoder wrote it."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils import json as kombu_json

from taskyard.errors import MalformedMessage
from taskyard.message.codec import content_types, dump_json, dumps, load_json, loads
from taskyard.message.saferepr import safe_repr

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_kombu_reads_what_we_write(value: Any) -> None:
    assert kombu_json.loads(dump_json(value)) == kombu_json.loads(kombu_json.dumps(value))


@given(values)
def test_we_read_what_kombu_writes(value: Any) -> None:
    text = kombu_json.dumps(value)
    assert load_json(text) == kombu_json.loads(text)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 1, tzinfo=UTC),
        date(2026, 1, 1),
        time(1, 2),
        Decimal("1.10"),
        uuid.UUID(int=7),
        b"\xff",
        2**80,
    ],
)
def test_types_come_back(value: Any) -> None:
    assert load_json(dump_json([value])) == [value]


def test_nan_and_surrogates_pass_as_kombu_lets_them() -> None:
    assert str(load_json(dump_json([float("nan")]))) == "[nan]"
    assert load_json(dump_json(["\ud800"])) == ["\ud800"]


def test_an_escaped_type_marker_is_seen() -> None:
    assert load_json(b'{"\\u005f_type__": "decimal", "__value__": "1.5"}') == Decimal("1.5")


def test_what_has_no_json_form_is_an_error() -> None:
    with pytest.raises(TypeError):
        dump_json(object())


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"[" * 100_000, b'{"__type__": "x", "__value__": 1}'])
def test_no_json(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        load_json(body)


def test_only_accepted_types_are_decoded() -> None:
    accept = content_types(["json", "application/x-yaml"])
    assert accept == {"application/json", "application/x-yaml"}
    with pytest.raises(MalformedMessage, match="accept_content"):
        loads(b"x", "application/x-python-serialize", "binary", accept)
    assert loads(b"a: 1", "application/x-yaml", "utf-8", accept) == {"a": 1}


def test_other_serialisers() -> None:
    body, content_type, encoding = dumps([1, {"a": 2}], "yaml")
    assert loads(body, content_type, encoding, content_types(["yaml"])) == [1, {"a": 2}]


def test_compressed_bodies() -> None:
    from kombu.compression import compress

    body, name = compress(b"[1, 2]", "gzip")
    assert loads(body, "application/json", "utf-8", content_types(["json"]), name) == [1, 2]
    with pytest.raises(MalformedMessage):
        loads(b"no gzip", "application/json", "utf-8", content_types(["json"]), name)


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError


@given(values)
def test_reprs_are_bounded(value: Any) -> None:
    assert len(safe_repr((value,))) <= 1024


def test_reprs_never_raise() -> None:
    assert safe_repr((2, 3)) == "(2, 3)"
    assert "Rude" in safe_repr([Rude()])
    assert safe_repr("x" * 10_000) == f"'{'x' * 1024}...'", "as Celery cuts it"
