"""Reading from RabbitMQ: what is not there yet ends the reading, what goes wrong with a frame comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from taskyard.broker.amqp_reader import AmqpReader


class Channel:
    """As py-amqp's: opens itself again when RabbitMQ has closed it, and waits for the answer."""

    def _do_revive(self) -> None:
        raise TimeoutError

    def on_close(self) -> None:
        self._do_revive()
        raise ConnectionAbortedError("PRECONDITION_FAILED")


class Transport:
    def __init__(self, frames: list[Any]) -> None:
        self.sock = SimpleNamespace()
        self.frames = frames
        self._read_buffer = b""

    def read_frame(self) -> Any:
        if not self.frames:
            raise TimeoutError
        return self.frames.pop(0)

    @contextmanager
    def having_timeout(self, timeout: float) -> Iterator[None]:
        yield


def connection(methods: int, on_method: Callable[..., None]) -> Any:
    """A connection on which some methods have arrived."""
    return SimpleNamespace(
        transport=Transport([(1, 1, b"\0\x14\0" + bytes([number])) for number in range(methods)]),
        channels={1: Channel()},
        Channel=Channel,
        connected=True,
        bytes_recv=0,
        on_inbound_method=on_method,
    )


def reader(made: Any, on_read: Callable[[], None] = lambda: None) -> AmqpReader:
    return AmqpReader(made, SimpleNamespace(add_reader=lambda *_: None), on_read)


def test_all_frames_are_handled_and_then_the_reader_is_told() -> None:
    seen: list[object] = []
    made = connection(2, lambda channel, method, *_: seen.append(method))
    reader(made, lambda: seen.append("read"))._readable()
    assert seen == [(20, 0), (20, 1), "read"]


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
