"""Reading from RabbitMQ: what is not there yet ends the reading, what goes wrong with a frame comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.basic_message import Message
from amqp.exceptions import UnexpectedFrame

from taskyard.broker.amqp_frames import read_arguments
from taskyard.broker.amqp_reader import AmqpReader


class Channel:
    """As py-amqp's: opens itself again when RabbitMQ has closed it, and waits for the answer."""

    def _do_revive(self) -> None:
        raise TimeoutError

    def on_close(self) -> None:
        self._do_revive()
        raise ConnectionAbortedError("PRECONDITION_FAILED")


class Socket:
    """What has come, in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def recv(self, size: int) -> bytes:
        if not self.pieces:
            raise TimeoutError
        return self.pieces.pop(0)


class Transport:
    def __init__(self, *pieces: bytes) -> None:
        self.sock = Socket(*pieces)
        self.connected = True
        self._read_buffer = b""

    @contextmanager
    def having_timeout(self, timeout: float) -> Iterator[None]:
        yield


def frame(kind: int, payload: bytes, channel: int = 1) -> bytes:
    return pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def delivery(tag: int, body: bytes, *, cut: int | None = None, consumer: bytes = b"consumer") -> bytes:
    """The frames of a message; cut into bodies of that size."""
    arguments = bytes([len(consumer)]) + consumer + pack(">QB", tag, 1) + b"\0\x05queue"
    properties = Message(
        "", content_type="text/plain", application_headers={"n": tag}
    )._serialize_properties()
    size = cut or max(len(body), 1)
    return b"".join(
        [
            frame(1, pack(">HH", 60, 60) + arguments),
            frame(2, pack(">HHQ", 60, 0, len(body)) + properties),
            *(frame(3, body[at : at + size]) for at in range(0, len(body), size)),
        ]
    )


def connection(methods: int, on_method: Callable[..., None], *pieces: bytes) -> Any:
    """A connection on which some methods have arrived."""
    return SimpleNamespace(
        transport=Transport(*(frame(1, b"\0\x14\0" + bytes([number])) for number in range(methods)), *pieces),
        channels={1: Channel()},
        Channel=Channel,
        connected=True,
        bytes_recv=0,
        on_inbound_method=on_method,
    )


def reader(
    made: Any, on_read: Callable[[], None] = lambda: None, on_delivery: Callable[..., bool] | None = None
) -> AmqpReader:
    return AmqpReader(made, SimpleNamespace(add_reader=lambda *_: None), on_read, on_delivery)


def test_all_frames_are_handled_and_then_the_reader_is_told() -> None:
    seen: list[object] = []
    made = connection(2, lambda channel, method, *_: seen.append(method))
    reading = reader(made, lambda: seen.append("read"))
    reading._readable()
    reading._readable()
    assert seen == [(20, 0), "read", (20, 1), "read"]


class Deliveries:
    """Takes those of one consumer."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.left: list[Any] = []

    def take(self, channel: int, arguments: bytes, properties: dict[str, Any], body: bytes) -> bool:
        consumer, tag, redelivered, place = read_arguments(arguments)
        if consumer != b"consumer":
            return False
        self.taken.append((channel, tag, redelivered, place, properties, body))
        return True

    def leave(self, channel: int, method: tuple[int, int], arguments: bytes, content: Any) -> None:
        body = content.body if content is None or isinstance(content.body, bytes) else content.body.encode()
        self.left.append((method, body))


MESSAGES = b"".join(delivery(tag, bytes([65 + tag]) * tag) for tag in range(5))


@pytest.mark.parametrize("size", [1, 7, 40, 100, len(MESSAGES) - 1, len(MESSAGES)])
def test_messages_arrive_whole_and_in_order_however_they_are_cut(size: int) -> None:
    """Those that come whole are taken from the wire, the others by way of py-amqp."""
    deliveries = Deliveries()
    pieces = [MESSAGES[at : at + size] for at in range(0, len(MESSAGES), size)]
    made = connection(0, deliveries.leave, *pieces)
    reading = reader(made, on_delivery=deliveries.take)
    for _ in pieces:
        reading._readable()
    assert made.transport._read_buffer == b""
    taken = [(tag, body) for _, tag, _, _, _, body in deliveries.taken]
    left = [body for _, body in deliveries.left]
    assert sorted([body for _, body in taken] + left) == [bytes([65 + tag]) * tag for tag in range(5)]
    assert made.bytes_recv == 3 * 5 - 1
    if size == len(MESSAGES):
        assert deliveries.taken[3] == (
            1, 3, True, ("", "queue"), {"content_type": "text/plain", "application_headers": {"n": 3}}, b"DDD"
        )  # fmt: skip
        assert not left


def test_what_is_unusual_goes_by_way_of_py_amqp() -> None:
    deliveries = Deliveries()
    stranger = delivery(1, b"unknown consumer", consumer=b"x")
    long = delivery(2, b"in several frames", cut=5)
    made = connection(0, deliveries.leave, stranger + long + delivery(3, b"usual"))
    reader(made, on_delivery=deliveries.take)._readable()
    assert [body for *_, body in deliveries.taken] == [b"usual"]
    assert deliveries.left == [((60, 60), b"unknown consumer"), ((60, 60), b"in several frames")]


def test_py_amqp_may_read_on_while_it_handles_a_frame() -> None:
    deliveries = Deliveries()

    def call(*_: Any) -> None:
        """A synchronous call: its answer stands in the buffer."""
        answer = frame(1, pack(">HH", 20, 11))
        buffer = made.transport._read_buffer
        assert buffer.startswith(answer)
        made.transport._read_buffer = buffer[len(answer) :]

    pieces = frame(1, pack(">HH", 20, 10)) + frame(1, pack(">HH", 20, 11)) + delivery(1, b"after")
    made = connection(0, call, pieces)
    reader(made, on_delivery=deliveries.take)._readable()
    assert [body for *_, body in deliveries.taken] == [b"after"]


def test_the_end_of_a_connection_is_an_error() -> None:
    made = connection(0, lambda *_: None, b"")
    with pytest.raises(ConnectionResetError):
        reader(made)._readable()
    assert not made.transport.connected


def test_a_frame_without_its_end_is_an_error() -> None:
    made = connection(0, lambda *_: None, frame(1, pack(">HH", 20, 10))[:-1] + b"!")
    with pytest.raises(UnexpectedFrame):
        reader(made)._readable()


def test_only_a_whole_frame_in_the_buffer_is_worth_another_look() -> None:
    made = connection(0, lambda *_: None)
    planned: list[Any] = []
    loop = SimpleNamespace(add_reader=lambda *_: None, call_soon=planned.append)
    reading = AmqpReader(made, loop, lambda: None)
    whole = frame(8, b"", 0)
    for buffer in (b"", whole[:7], whole[:-1]):
        made.transport._read_buffer = buffer
        reading.look_again()
    assert not planned
    made.transport._read_buffer = whole + whole[:3]
    reading.look_again()
    reading.look_again()
    assert len(planned) == 1


@pytest.mark.parametrize("early", [True, False], ids=["opened before", "opened later"])
def test_a_channel_that_rabbitmq_closes_is_not_opened_again_unseen(early: bool) -> None:
    made = connection(1, lambda *_: channel.on_close())
    reading = reader(made)
    channel = made.channels[1] if early else made.Channel()
    with pytest.raises(ConnectionAbortedError):
        reading._readable()


def test_a_timeout_in_the_midst_of_a_frame_is_no_end_of_the_reading() -> None:
    def slow(*_: object) -> None:
        raise TimeoutError("the answer")

    with pytest.raises(TimeoutError, match="the answer"):
        reader(connection(1, slow))._readable()
