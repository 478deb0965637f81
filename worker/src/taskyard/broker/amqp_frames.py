"""py-amqp's assembly of frames to methods and messages, with a faster reading of a message's properties.

The headers of a task are a table of some twenty entries; py-amqp reads it with a function call, an unpacking
and a decoding for each, which is half of what a message costs.  Whatever is unusual is left to py-amqp.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct, unpack_from
from typing import Any, Final

from amqp import spec
from amqp.basic_message import Message
from amqp.exceptions import UnexpectedFrame
from amqp.serialization import _read_item

from taskyard.broker.amqp_layouts import VARIABLE, Layouts, Spot

_frame = Struct(">BHI").unpack_from
_ack = Struct(">BHIHHQBB").pack
_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
#: Methods that a message comes with.
_CARRIERS: Final = frozenset({spec.Basic.Return, spec.Basic.Deliver, spec.Basic.GetOk})

_layouts = Layouts()

#: Exchange and routing key, as the wire has them and as texts.
_places: dict[bytes, tuple[str, str]] = {}
_MOST_PLACES: Final = 1000

#: Names of headers that most messages have.
_NAMES: Final = {
    name.encode(): name
    for name in (
        "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit",
        "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting",
        "stamped_headers", "stamps", "x-delivery-count", "x-taskyard-deliveries",
    )
}  # fmt: skip

#: Flag -> property, in the order of the wire; the others are numbers or tables.
_TEXTS_BEFORE: Final = ((0x8000, "content_type"), (0x4000, "content_encoding"))
_TEXTS_AFTER: Final = (
    (0x0400, "correlation_id"), (0x0200, "reply_to"), (0x0100, "expiration"), (0x0080, "message_id"),
)  # fmt: skip
#: What is read here; timestamp, type, user and so on are not, nor a second word of flags.
_READ: Final = 0xFF80


class Framing:
    """Takes a connection's frames; calls back with each method, and with each message when it is complete."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._callback: Callable[..., Any] = connection.on_inbound_method
        self._partial: dict[int, Any] = {}
        self._headed: set[int] = set()

    def __call__(self, frame: tuple[int, int, bytes]) -> bool:
        """Handle a frame; whether something was complete with it."""
        kind, channel, payload = frame
        self._connection.bytes_recv += 1
        if kind == _HEARTBEAT:
            return False
        message = self._partial.get(channel)
        if message is None:
            if kind != _METHOD:
                raise UnexpectedFrame(f"frame of type {kind} without a method")
            method = unpack_from(">HH", payload)
            if method not in _CARRIERS:
                self._callback(channel, method, payload, None)
                return True
            self._partial[channel] = Message(frame_method=method, frame_args=payload)
            return False
        if kind != (_BODY if channel in self._headed else _HEADER):
            raise UnexpectedFrame(f"frame of type {kind} within a message")
        if kind == _BODY:
            message.inbound_body(payload)
        else:
            self._headed.add(channel)
            read_header(message, payload)
        if not message.ready:
            return False
        self._headed.discard(channel)
        del self._partial[channel]
        self._callback(channel, message.frame_method, message.frame_args, message)
        return True


def read_delivery(data: bytes, at: int, size: int, channel: int) -> tuple[int, dict[str, Any], bytes] | None:
    """What follows the method of a delivery, from `at`: where it ends, its properties and its body.

    None where that is not all there, in more than one frame, or unusual.
    """
    if size - at < 8:
        return None
    kind, number, length = _frame(data, at)
    start, at = at + 7, at + 8 + length
    if at > size or kind != _HEADER or number != channel or data[at - 1] != 0xCE:
        return None
    try:
        properties = _properties(data[start : at - 1])
    except (UnicodeDecodeError, IndexError):
        return None
    if properties is None:
        return None
    expected = int.from_bytes(data[start + 4 : start + 12], "big")
    if not expected:
        return at, properties, b""
    if size - at < expected + 8:
        return None
    kind, number, length = _frame(data, at)
    start, at = at + 7, at + 8 + length
    if length != expected or kind != _BODY or number != channel or data[at - 1] != 0xCE:
        return None
    return at, properties, data[start : at - 1]


def read_arguments(arguments: bytes) -> tuple[bytes, int, bool, tuple[str, str]]:
    """Arguments of a delivery's method: consumer tag, delivery tag, redelivered, (exchange, routing key).

    IndexError or UnicodeDecodeError for what is none.
    """
    at = 1 + arguments[0]
    place = arguments[at + 9 :]
    found = _places.get(place)
    if found is None:
        middle = 1 + place[0]
        if 1 + middle + place[middle] != len(place):
            raise IndexError("exchange and routing key are not where they should be")
        found = str(place[1:middle], "utf-8"), str(place[middle + 1 :], "utf-8")
        if len(_places) >= _MOST_PLACES:
            _places.clear()
        _places[place] = found
    return arguments[1:at], int.from_bytes(arguments[at : at + 8], "big"), bool(arguments[at + 8] & 1), found


def ack_frame(channel: int, tag: int, multiple: bool) -> bytes:
    """basic.ack as a whole frame."""
    return _ack(_METHOD, channel, 13, 60, 80, tag, multiple, 0xCE)


def read_header(message: Any, payload: bytes) -> None:
    """A message's size and properties from its header frame."""
    try:
        properties = _properties(payload)
    except (UnicodeDecodeError, IndexError):
        properties = None
    if properties is None:
        message.inbound_header(payload)
        return
    message.properties = properties
    message.body_size = int.from_bytes(payload[4:12], "big")
    if not message.body_size:
        message.ready = True


def _properties(payload: bytes) -> dict[str, Any] | None:
    """The properties; None where py-amqp is to read them."""
    known = _layouts.read(payload)
    if known is not None:
        return known
    spots: list[Spot] = []
    found = _read_properties(payload, spots)
    if found is not None:
        _layouts.learn(payload, found, spots)
    return found


def _read_properties(payload: bytes, spots: list[Spot]) -> dict[str, Any] | None:
    flags = payload[12] << 8 | payload[13]
    if flags & ~_READ:
        return None
    found: dict[str, Any] = {}
    at = 14
    for flag, name in _TEXTS_BEFORE:
        if flags & flag:
            stop = at + 1 + payload[at]
            found[name] = str(payload[at + 1 : stop], "utf-8")
            at = stop
    if flags & 0x2000:
        stop = at + 4 + int.from_bytes(payload[at : at + 4], "big")
        found["application_headers"] = _table(payload, at + 4, stop, spots)
        at = stop
    if flags & 0x1000:
        found["delivery_mode"] = payload[at]
        at += 1
    if flags & 0x0800:
        found["priority"] = payload[at]
        at += 1
    for flag, name in _TEXTS_AFTER:
        if flags & flag:
            stop = at + 1 + payload[at]
            found[name] = str(payload[at + 1 : stop], "utf-8")
            if name in VARIABLE:
                spots.append((name, False, at + 1, stop))
            at = stop
    return found if at == len(payload) else None


def _table(payload: bytes, at: int, end: int, spots: list[Spot] | None = None) -> dict[str, Any]:
    """A table; `spots` is told of the texts in it that differ from message to message."""
    found: dict[str, Any] = {}
    while at < end:
        stop = at + 1 + payload[at]
        raw = payload[at + 1 : stop]
        name = _NAMES.get(raw) or str(raw, "utf-8")
        kind = payload[stop]
        at = stop + 1
        if kind == 86:  # V: nothing
            found[name] = None
        elif kind == 83:  # S: text
            stop = at + 4 + int.from_bytes(payload[at : at + 4], "big")
            found[name] = str(payload[at + 4 : stop], "utf-8")
            if spots is not None and name in VARIABLE:
                spots.append((name, True, at + 4, stop))
            at = stop
        elif kind == 73:  # I: a number of four bytes
            found[name] = int.from_bytes(payload[at : at + 4], "big", signed=True)
            at += 4
        elif kind == 116:  # t: true or false
            found[name] = bool(payload[at])
            at += 1
        elif kind == 70:  # F: a table
            stop = at + 4 + int.from_bytes(payload[at : at + 4], "big")
            found[name] = _table(payload, at + 4, stop)
            at = stop
        elif kind == 65 and payload[at : at + 6] == b"\0\0\0\2VV":  # A: a list, here of two nothings
            found[name] = [None, None]
            at += 6
        else:
            found[name], at = _read_item(payload, at - 1)
    if at != end:
        raise IndexError("the table ends within an entry")
    return found
