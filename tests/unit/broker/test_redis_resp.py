"""The reader of Redis' protocol."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.broker.redis.resp import INCOMPLETE, ErrorReply, ProtocolError, Push, RespReader, pack

Encoded = tuple[bytes, Any]


def bulk(data: bytes) -> Encoded:
    return b"$%d\r\n%s\r\n" % (len(data), data), data


def array(items: list[Encoded]) -> Encoded:
    return b"*%d\r\n%s" % (len(items), b"".join(text for text, _ in items)), [value for _, value in items]


scalars = st.one_of(
    st.binary(max_size=40).map(bulk),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: (b":%d\r\n" % n, n)),
    st.sampled_from(
        [(b"$-1\r\n", None), (b"_\r\n", None), (b"#t\r\n", True), (b"#f\r\n", False), (b"+OK\r\n", b"OK")]
    ),
    st.just((b",1.5\r\n", 1.5)),
    st.just((b"=7\r\ntxt:abc\r\n", b"abc")),
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4).map(array), max_leaves=12)


@given(st.lists(values, min_size=1, max_size=5), st.data())
def test_replies_survive_any_fragmentation(replies: list[Encoded], data: st.DataObject) -> None:
    text = b"".join(encoded for encoded, _ in replies)
    reader = RespReader()
    read = []
    while text:
        size = data.draw(st.integers(1, len(text)))
        reader.feed(text[:size])
        text = text[size:]
        while (reply := reader.next()) is not INCOMPLETE:
            read.append(reply)
    assert read == [value for _, value in replies]
    assert reader.next() is INCOMPLETE


def test_pushes_and_errors_are_told_apart() -> None:
    reader = RespReader()
    reader.feed(
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nq\r\n-NOSCRIPT none\r\n"
        b"!9\r\nERR a\r\nbc\r\n%1\r\n+a\r\n:1\r\n|1\r\n+x\r\n:1\r\n:7\r\n"
    )
    push, error, blob, table, attributed = (reader.next() for _ in range(5))
    assert type(push) is Push
    assert push == [b"invalidate", [b"q"]]
    assert isinstance(error, ErrorReply)
    assert error.code == "NOSCRIPT"
    assert str(blob) == "ERR a\r\nbc"
    assert table == {b"a": 1}
    assert attributed == 7


@pytest.mark.parametrize("text", [b"hello\r\n", b":x\r\n", b"$x\r\n", b"\r\n"])
def test_other_protocols_are_refused(text: bytes) -> None:
    reader = RespReader()
    reader.feed(text)
    with pytest.raises(ProtocolError, match="unexpected"):
        reader.next()


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=6))
def test_commands_read_as_arrays(arguments: list[bytes]) -> None:
    reader = RespReader()
    reader.feed(pack(*arguments))
    assert reader.next() == arguments


def test_what_was_read_of_a_long_reply_is_not_read_again() -> None:
    """A hundred large messages come in many pieces: each piece must not cost what all before it did."""
    item = bulk(b"x" * 1000)
    text, value = array([item] * 100)
    reader = RespReader()
    for at in range(0, len(text), 1500):
        reader.feed(text[at : at + 1500])
        reply = reader.next()
        assert len(reader._buffer) - reader._position <= len(item[0])
    assert reply == value
