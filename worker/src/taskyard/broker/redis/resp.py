"""Incremental reader of Redis' protocol, RESP2 and RESP3.

Source of the format: https://redis.io/docs/latest/develop/reference/protocol-spec/.
redis-py's own parsers block until a reply is complete; an event loop must not.
"""

from typing import Any, Final

INCOMPLETE: Final = object()
"""Returned by ``RespReader.next`` while the next reply is not yet complete."""


_BULK, _INTEGER, _ARRAY, _PUSH = b"$:*>"
_LISTS = (_ARRAY, _PUSH)


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


class _Incomplete(Exception):  # noqa: N818 - control flow
    pass


class RespReader:
    """Bytes in, replies out."""

    __slots__ = ("_buffer", "_position")

    def __init__(self) -> None:
        #: What was received; bytes as they came, unless a reply came in pieces.
        self._buffer: bytes | bytearray = b""
        self._position = 0

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
        start = self._position
        if start == len(self._buffer):
            return INCOMPLETE
        try:
            return self._value()
        except _Incomplete:
            self._position = start
            return INCOMPLETE

    def _bulk(self, start: int, size: int) -> bytes:
        buffer, end = self._buffer, start + size
        if len(buffer) < end + 2:
            raise _Incomplete
        self._position = end + 2
        if type(buffer) is bytes:
            return buffer[start:end]
        with memoryview(buffer) as view:
            return bytes(view[start:end])

    def _value(self) -> Any:
        buffer, start = self._buffer, self._position
        end = buffer.find(b"\r\n", start)
        if end < 0:
            raise _Incomplete
        self._position = end + 2
        kind, rest = buffer[start], buffer[start + 1 : end]
        try:
            if kind == _BULK:
                size = int(rest)
                return self._bulk(end + 2, size) if size >= 0 else None
            if kind == _INTEGER:
                return int(rest)
            if kind in _LISTS:
                size = int(rest)
                if size < 0:
                    return None
                value = self._value
                values = [value() for _ in range(size)]
                return values if kind == _ARRAY else Push(values)
            return self._rarer(chr(kind), bytes(rest), end + 2)
        except (ValueError, TypeError):
            pass
        raise ProtocolError(f"unexpected {bytes(buffer[start:end])[:40]!r} in a reply of Redis")

    def _rarer(self, kind: str, rest: bytes, start: int) -> Any:
        if kind == "+":
            return rest
        if kind == "-":
            return ErrorReply(rest.decode(errors="replace"))
        if kind == "!":
            return ErrorReply(self._bulk(start, int(rest)).decode(errors="replace"))
        if kind == "=":
            return self._bulk(start, int(rest))[4:]
        if kind == "~":
            return [self._value() for _ in range(int(rest))]
        if kind == "%":
            pairs = [(self._value(), self._value()) for _ in range(int(rest))]
            return dict(pairs)
        if kind == "|":
            for _ in range(2 * int(rest)):
                self._value()
            return self._value()
        if kind == "_":
            return None
        if kind == "#":
            return rest == b"t"
        if kind == ",":
            return float(rest)
        if kind == "(":
            return int(rest)
        raise ValueError(kind)


def pack(*arguments: bytes) -> bytes:
    """Encode a command."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        parts.append(b"$%d\r\n" % len(argument))
        parts.append(argument)
        parts.append(b"\r\n")
    return b"".join(parts)
