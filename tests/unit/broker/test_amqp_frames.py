"""A message's properties are what py-amqp reads."""

from datetime import datetime
from struct import pack
from typing import Any

import pytest
from amqp.basic_message import Message
from amqp.exceptions import UnexpectedFrame

from taskyard.broker.amqp_frames import Framing, ack_frame, read_arguments, read_header
from taskyard.message.protocol import headers_of

TASK: dict[str, Any] = {
    "application_headers": headers_of("jobs.add", "an-id", (1, "é"), {}, timelimit=(None, None)),
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "delivery_mode": 2,
    "priority": 0,
    "correlation_id": "an-id",
    "reply_to": "someone",
}


def header(properties: dict[str, Any], size: int = 3) -> bytes:
    flags_and_values: bytes = Message("", **properties)._serialize_properties()
    return pack(">HHQ", 60, 0, size) + flags_and_values


@pytest.mark.parametrize(
    "properties",
    [
        TASK,
        {},
        {"content_type": "a" * 200, "expiration": "100", "message_id": "m"},
        {"application_headers": {}, "timestamp": 5, "type": "t", "user_id": "u", "app_id": "a"},
        {
            "application_headers": {
                "list": [1, "a", None, {"q": 2.5}, []],
                "table": {"é": True, "n": -5, "big": 2**40, "none": None},
                "time": datetime(2026, 1, 1),
                "bytes": b"\xff\xfe",
            }
        },
    ],
)
def test_properties_are_those_that_py_amqp_reads(properties: dict[str, Any]) -> None:
    theirs, ours = Message(), Message()
    theirs.inbound_header(header(properties))
    read_header(ours, header(properties))
    assert ours.properties == theirs.properties
    assert repr(ours.properties) == repr(theirs.properties)
    assert (ours.body_size, ours.ready) == (theirs.body_size, theirs.ready)


def test_messages_that_are_like_earlier_ones_are_read_alike() -> None:
    """By a layout: it knows all but the texts of the message that it was made of."""

    def task(number: int, **more: Any) -> dict[str, Any]:
        headers = headers_of(f"jobs.{number}", f"id-{number}", (number,), {}, root_id=f"ro-{number}")
        return {**TASK, "application_headers": {**headers, **more}, "correlation_id": f"id-{number}"}

    like = [task(number) for number in range(3)]
    other = [task(number, retries=1) for number in range(3, 5)]  # as long, but something else differs
    for properties in [*like, *other, *like, *other * 10, *like]:
        theirs, ours = Message(), Message()
        theirs.inbound_header(header(properties))
        read_header(ours, header(properties))
        assert repr(ours.properties) == repr(theirs.properties)
        ours.properties["application_headers"]["stamps"]["mine"] = 1
        ours.properties["application_headers"]["timelimit"].append(1)


def test_a_text_in_another_place_of_a_known_layout_is_none_of_its_texts() -> None:
    twice = {**TASK, "application_headers": {"id": "a", "Id": "b"}}
    for wire in (header(twice), header(twice).replace(b"\2Id", b"\2id")):
        for _ in range(2):
            theirs, ours = Message(), Message()
            theirs.inbound_header(wire)
            read_header(ours, wire)
            assert ours.properties == theirs.properties


@pytest.mark.parametrize("text", [b"\xff\xfe"])
def test_a_text_that_is_none_is_left_to_py_amqp(text: bytes) -> None:
    good = header({"application_headers": {"id": "ab"}, "content_type": "x/y"})
    read_header(Message(), good)
    theirs, ours = Message(), Message()
    theirs.inbound_header(good.replace(b"ab", text))
    read_header(ours, good.replace(b"ab", text))
    assert ours.properties == theirs.properties


def test_an_acknowledgement_is_a_frame_as_py_amqp_writes_it() -> None:
    assert ack_frame(3, 2**40, True) == pack(">BHIHHQBB", 1, 3, 13, 60, 80, 2**40, 1, 0xCE)


@pytest.mark.parametrize("arguments", [b"", b"\x05abc", b"\1c" + bytes(9) + b"\5abc\0"])
def test_arguments_that_are_none_are_an_error(arguments: bytes) -> None:
    with pytest.raises((IndexError, UnicodeDecodeError)):
        read_arguments(arguments)


class Connection:
    def __init__(self) -> None:
        self.bytes_recv = 0
        self.heard: list[Any] = []

    def on_inbound_method(self, channel: int, method: Any, arguments: bytes, content: Any) -> None:
        self.heard.append((channel, method, content and content.body))


def test_frames_of_several_channels_become_methods_and_messages() -> None:
    connection = Connection()
    take = Framing(connection)
    deliver, ack = pack(">HH", 60, 60), pack(">HH", 60, 80)
    assert take((1, 1, ack))
    assert not take((1, 1, deliver))
    assert not take((8, 0, b""))
    assert not take((1, 2, deliver))
    assert not take((2, 1, header(TASK, 4)))
    assert take((2, 2, header(TASK, 0)))
    assert not take((3, 1, b"bo"))
    assert take((3, 1, b"dy"))
    assert connection.heard == [(1, (60, 80), None), (2, (60, 60), ""), (1, (60, 60), b"body")]
    assert connection.bytes_recv == 8


@pytest.mark.parametrize("kinds", [(2,), (3,), (1, 3), (1, 1), (1, 2, 2)])
def test_a_frame_out_of_turn_is_an_error(kinds: tuple[int, ...]) -> None:
    take = Framing(Connection())
    payloads = {1: pack(">HH", 60, 60), 2: header(TASK), 3: b"body"}
    for kind in kinds[:-1]:
        take((kind, 1, payloads[kind]))
    with pytest.raises(UnexpectedFrame):
        take((kinds[-1], 1, payloads[kinds[-1]]))
