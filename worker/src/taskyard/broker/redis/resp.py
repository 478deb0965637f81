"""Incremental reader of Redis' protocol, RESP2 and RESP3.

Source of the format: https://redis.io/docs/latest/develop/reference/protocol-spec/.
redis-py's own parsers block until a reply is complete; an event loop must not.
"""

from typing import Any, Final

INCOMPLETE: Final = object()
"""Returned by ``RespReader.next`` while the next reply is not yet complete."""


_BULK, _INTEGER, _ARRAY, _PUSH, _SET, _MAP, _ATTRIBUTES = b"$:*>~%|"
#: Kinds of aggregates, and how many values each of their elements has.
_AGGREGATES: Final = {_ARRAY: 1, _PUSH: 1, _SET: 1, _MAP: 2, _ATTRIBUTES: 2}
_NOTHING: Final = object()
"""What a reply is told about itself is no value of it."""


class Push(list[Any]):
    """An out-of-band message (RESP3 ``>``)."""


class ErrorReply(Exception):  # noqa: N818 - it is a reply of the server's; the reader returns it
    """An error that the server answered, as text such as ``NOSCRIPT No matching script``."""

    @property
    def code(self) -> str:
        """The first word, by which Redis tells kinds of errors apart."""
        return str(self).partition(" ")[0]


class ProtocolError(Exception):
    """The bytes are not Redis' protocol."""


class RespReader:
    """Bytes in, replies out; what was read of a reply is not read again when more of it comes."""

    __slots__ = ("_buffer", "_open", "_position")

    def __init__(self) -> None:
        #: What was received; bytes as they came, unless a reply came in pieces.
        self._buffer: bytes | bytearray = b""
        self._position = 0
        #: Aggregates that lack values: kind, how many values each has in the end, the values so far.
        self._open: list[tuple[int, int, list[Any]]] = []

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        position, buffer = self._position, self._buffer
        if position == len(buffer):
            self._buffer = data
        elif type(buffer) is bytearray:
            del buffer[:position]
            buffer += data
        else:
            rest = bytearray(buffer[position:])
            rest += data
            self._buffer = rest
        self._position = 0

    def next(self) -> Any:
        """The next reply, or ``INCOMPLETE``; raises ``ProtocolError``."""
        buffer, opened = self._buffer, self._open
        find, available = buffer.find, len(buffer)
        start = self._position
        value: Any
        while (end := find(b"\r\n", start)) >= 0:
            kind = buffer[start]
            try:
                if kind == _BULK:
                    size, value = int(buffer[start + 1 : end]), None
                    after = end + 2
                    if size >= 0:
                        after += size + 2
                        if available < after:
                            return INCOMPLETE
                        value = buffer[end + 2 : after - 2]
                        if type(value) is bytearray:
                            value = bytes(value)
                elif kind == _INTEGER:
                    after, value = end + 2, int(buffer[start + 1 : end])
                elif kind in _AGGREGATES:
                    size, after = int(buffer[start + 1 : end]), end + 2
                    if size > 0:
                        self._position = start = after
                        opened.append((kind, size * _AGGREGATES[kind], []))
                        continue
                    value = None if size < 0 else _closed(kind, [])
                else:
                    after, value = self._rarer(chr(kind), bytes(buffer[start + 1 : end]), end + 2)
                    if value is INCOMPLETE:
                        return value
            except (ValueError, TypeError):
                raise ProtocolError(
                    f"unexpected {bytes(buffer[start:end])[:40]!r} in a reply of Redis"
                ) from None
            self._position = start = after
            while True:
                if value is not _NOTHING:
                    if not opened:
                        return value
                    opened[-1][2].append(value)
                kind, size, values = opened[-1] if opened else (0, 1, [])
                if len(values) < size:
                    break
                opened.pop()
                value = _closed(kind, values)
        return INCOMPLETE

    def _rarer(self, kind: str, rest: bytes, start: int) -> tuple[int, Any]:
        """Where the value ends, and the value."""
        if kind == "+":
            return start, rest
        if kind == "-":
            return start, ErrorReply(rest.decode(errors="replace"))
        if kind in "!=":
            after = start + int(rest) + 2
            if len(self._buffer) < after:
                return start, INCOMPLETE
            text = bytes(self._buffer[start : after - 2])
            return after, text[4:] if kind == "=" else ErrorReply(text.decode(errors="replace"))
        if kind == "_":
            return start, None
        if kind == "#":
            return start, rest == b"t"
        if kind == ",":
            return start, float(rest)
        if kind == "(":
            return start, int(rest)
        raise ValueError(kind)


def _closed(kind: int, values: list[Any]) -> Any:
    if kind == _PUSH:
        return Push(values)
    if kind == _MAP:
        return dict(zip(values[::2], values[1::2], strict=True))
    return _NOTHING if kind == _ATTRIBUTES else values


def pack(*arguments: bytes) -> bytes:
    """Encode a command."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        parts.append(b"$%d\r\n" % len(argument))
        parts.append(argument)
        parts.append(b"\r\n")
    return b"".join(parts)
