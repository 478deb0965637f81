"""Incremental reader of Redis' protocol, RESP2 and RESP3.

Source of the format: https://redis.io/docs/latest/develop/reference/protocol-spec/.
redis-py's own parsers block until a reply is complete; an event loop must not.
"""

from typing import Any, Final

INCOMPLETE: Final = object()
"""Returned by ``RespReader.next`` while the next reply is not yet complete."""


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
        self._buffer = bytearray()
        self._position = 0

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        self._buffer += data

    def next(self) -> Any:
        """The next reply, or ``INCOMPLETE``; raises ``ProtocolError``."""
        start = self._position
        if start == len(self._buffer):
            self._buffer.clear()
            self._position = 0
            return INCOMPLETE
        try:
            return self._value()
        except _Incomplete:
            del self._buffer[:start]
            self._position = 0
            return INCOMPLETE

    def _line(self) -> bytes:
        end = self._buffer.find(b"\r\n", self._position)
        if end < 0:
            raise _Incomplete
        line = bytes(self._buffer[self._position : end])
        self._position = end + 2
        return line

    def _bulk(self, size: int) -> bytes:
        end = self._position + size
        if len(self._buffer) < end + 2:
            raise _Incomplete
        with memoryview(self._buffer) as view:
            data = bytes(view[self._position : end])
        self._position = end + 2
        return data

    def _value(self) -> Any:
        line = self._line()
        kind, rest = line[:1], line[1:]
        try:
            if kind in b"$=!":
                size = int(rest)
                if size < 0:
                    return None
                data = self._bulk(size)
                if kind == b"!":
                    return ErrorReply(data.decode(errors="replace"))
                return data[4:] if kind == b"=" else data
            if kind == b":" or kind == b"(":
                return int(rest)
            if kind == b"+":
                return rest
            if kind == b"-":
                return ErrorReply(rest.decode(errors="replace"))
            if kind in b"*~>":
                size = int(rest)
                if size < 0:
                    return None
                values = [self._value() for _ in range(size)]
                return Push(values) if kind == b">" else values
            if kind == b"%":
                pairs = [(self._value(), self._value()) for _ in range(int(rest))]
                return dict(pairs)
            if kind == b"|":
                for _ in range(2 * int(rest)):
                    self._value()
                return self._value()
            if kind == b"_":
                return None
            if kind == b"#":
                return rest == b"t"
            if kind == b",":
                return float(rest)
        except (ValueError, TypeError):
            pass
        raise ProtocolError(f"unexpected {line[:40]!r} in a reply of Redis")


def pack(*arguments: bytes) -> bytes:
    """Encode a command."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        parts.append(b"$%d\r\n" % len(argument))
        parts.append(argument)
        parts.append(b"\r\n")
    return b"".join(parts)
