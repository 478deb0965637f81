"""The frames of task messages that are alike, for RabbitMQ: what they have in common is written once."""

from __future__ import annotations

import contextlib
import re
from struct import pack
from typing import TYPE_CHECKING, Any, Final

from amqp.exceptions import RecoverableConnectionError
from amqp.serialization import dumps

from taskyard.message.alike import Alike
from taskyard.message.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskyard.client.router import Route
    from taskyard.message.protocol import TaskMessage

_METHOD, _HEADER, _BODY = 1, 2, 3
_END: Final = b"\xce"
_PUBLISH: Final = pack(">HH", 60, 40)
#: A frame's own bytes besides its payload.
_AROUND: Final = 8
_LARGEST_INDEX: Final = 2**31


def prepared(channel: Any, message: TaskMessage | Alike, route: Route, delivery_mode: int) -> Any:
    """A message as py-amqp takes it."""
    return channel.prepare_message(
        message.body,
        priority=message.priority if message.priority is not None else (route.priority or 0),
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        headers=message.headers,
        properties={**message.properties, "delivery_mode": delivery_mode},
    )


class AmqpStencil:
    """`basic.publish`, properties and body of messages that are alike, on one channel."""

    def __init__(self, channel: Any, first: TaskMessage, route: Route, delivery_mode: int) -> None:
        self._route, self._mode = route, delivery_mode
        self._number: int = channel.channel_id
        self._frame_max: int = channel.connection.frame_max
        self._largest = self._frame_max - _AROUND
        arguments = dumps("Bssbb", (0, route.exchange, route.routing_key, False, False))
        self._publish = _frame(_METHOD, self._number, _PUBLISH + arguments)
        # A text that stands nowhere else marks the gaps.
        mark = new_id()
        index: Any = f"{mark}index"
        marked = Alike(first, f"{mark}id", f"{mark}args", f"{mark}kwargs", index, b"")
        self._cut(prepared(channel, marked, route, delivery_mode)._serialize_properties(), mark.encode())

    def fits(self, channel: Any, route: Route, delivery_mode: int) -> bool:
        """Whether it was made for these."""
        return (
            route is self._route
            and delivery_mode == self._mode
            and channel.channel_id == self._number
            and channel.connection.frame_max == self._frame_max
        )

    def _cut(self, properties: bytes, mark: bytes) -> None:
        at = 2  # flags, content type and encoding stand before the table
        for _ in range(2):
            at += 1 + properties[at]
        end = at + 4 + int.from_bytes(properties[at : at + 4], "big")
        self._before = properties[:at]
        gap = re.compile(rb"S\0\0\0.%b(id|args|kwargs|index)" % mark, re.DOTALL)
        self._table = gap.sub(rb"%(\1)b", properties[at + 4 : end].replace(b"%", b"%%"))
        correlation = bytes([len(mark) + 2]) + mark + b"id"
        self._middle, _, self._after = properties[end:].partition(correlation)

    def frames(self, message: Alike) -> bytes | None:
        """All frames of a message; None where py-amqp is to have a look at it."""
        task_id, index, body = message.id.encode(), message.group_index, message.body
        if len(task_id) > 255 or not (index is None or (type(index) is int and 0 <= index < _LARGEST_INDEX)):
            return None
        try:
            table = self._table % {
                b"id": _text(task_id),
                b"args": _text(message.argsrepr.encode()),
                b"kwargs": _text(message.kwargsrepr.encode()),
                b"index": b"V" if index is None else pack(">ci", b"I", index),
            }
        except UnicodeEncodeError:
            return None
        header = b"".join(
            (
                pack(">HHQ", 60, 0, len(body)),
                self._before,
                pack(">I", len(table)),
                table,
                self._middle,
                bytes((len(task_id),)),
                task_id,
                self._after,
            )
        )
        number = self._number
        if len(body) <= self._largest:
            return self._publish + _frame(_HEADER, number, header) + _frame(_BODY, number, body)
        return b"".join((self._publish, _frame(_HEADER, number, header), *self._pieces(body)))

    def _pieces(self, body: bytes) -> Iterator[bytes]:
        for start in range(0, len(body), self._largest):
            yield _frame(_BODY, self._number, body[start : start + self._largest])


def frames_of(channel: Any, message: Alike, route: Route, delivery_mode: int) -> bytes | None:
    """All frames of a message; None where py-amqp is to have a look at it."""
    if channel.connection is None:
        raise RecoverableConnectionError("the channel is closed")
    first = message.first
    stencil = first.stencil
    if type(stencil) is not AmqpStencil or not stencil.fits(channel, route, delivery_mode):
        stencil = first.stencil = AmqpStencil(channel, first, route, delivery_mode)
    return stencil.frames(message)


def write(channel: Any, frames: bytes) -> None:
    """Send frames of messages, as the channel's `basic_publish` would."""
    connection = channel.connection
    if connection is None:
        raise RecoverableConnectionError("the channel is closed")
    with contextlib.suppress(TimeoutError):
        connection.drain_events(timeout=0)  # confirmations, and whether the broker wants no more
    connection.transport.write(frames)
    connection.bytes_sent += 1  # as py-amqp counts frames, for heartbeats


def _text(value: bytes) -> bytes:
    return b"S" + pack(">I", len(value)) + value


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return pack(">BHI", kind, channel, len(payload)) + payload + _END
