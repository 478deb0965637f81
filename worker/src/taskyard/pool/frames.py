"""Frames on the socket between parent and child: four bytes of length, then msgpack of a list of tuples."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

_LENGTH = struct.Struct("!I")
#: The length, and msgpack's "array 16" with the number of its items.
_ARRAY, _HEAD = 0xDC, struct.Struct("!IBH")

#: Bytes of one read from a socket: a larger buffer costs the allocator a mapping each time.
PIECE = 1 << 16
#: The longest frame that is believed, bytes: RabbitMQ's own limit on messages is 512 MiB.
MAX_FRAME = 1 << 30

#: One item of a frame; TypeError for what msgpack cannot hold.
pack_item = msgspec.msgpack.Encoder().encode


def pack_frame(items: list[Any]) -> bytes:
    """One frame; TypeError for what msgpack cannot hold."""
    payload = pack_item(items)
    return _LENGTH.pack(len(payload)) + payload


def frame_of(count: int, items: bytes) -> bytes:
    """One frame of so many packed items, 65,535 at most."""
    return _HEAD.pack(len(items) + 3, _ARRAY, count) + items


class FrameReader:
    """Cuts a byte stream into frames."""

    __slots__ = ("_buffer", "_decode")

    def __init__(self, item: Any = Any) -> None:
        """`item` is the type of a frame's items."""
        self._buffer = bytearray()
        self._decode = msgspec.msgpack.Decoder(list[item]).decode

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        """The frames that are complete with this data; ValueError if the stream cannot be one of frames."""
        buffer = self._buffer
        buffer += data
        position, available = 0, len(buffer)
        while available - position >= 4:
            (size,) = _LENGTH.unpack_from(buffer, position)
            if size > MAX_FRAME:
                raise ValueError(f"frame of {size} bytes")
            if available - position - 4 < size:
                break
            end = position + 4 + size
            with memoryview(buffer) as view:
                items = self._decode(view[position + 4 : end])
            position = end
            yield items
        del buffer[:position]
