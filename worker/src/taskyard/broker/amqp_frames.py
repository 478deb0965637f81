"""py-amqp's assembly of frames to methods and messages, with a faster reading of a message's properties.

The headers of a task are a table of some twenty entries; py-amqp reads it with a function call, an unpacking
and a decoding for each, which is half of what a message costs.  Whatever is unusual is left to py-amqp.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from
from typing import Any, Final

from amqp import spec
from amqp.basic_message import Message
from amqp.exceptions import UnexpectedFrame
from amqp.serialization import _read_item

_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
#: Methods that a message comes with.
_CARRIERS: Final = frozenset({spec.Basic.Return, spec.Basic.Deliver, spec.Basic.GetOk})

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
        found["application_headers"] = _table(payload, at + 4, stop)
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
            at = stop
    return found if at == len(payload) else None


def _table(payload: bytes, at: int, end: int) -> dict[str, Any]:
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
