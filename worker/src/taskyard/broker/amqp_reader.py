"""Reading from RabbitMQ in large pieces.

py-amqp reads each frame by three small reads, each with a new timeout on the socket, and takes every message
through five of its layers: most of what a message costs.  Here the socket is read in pieces of many
kilobytes, and all complete frames of one are handled at once: deliveries by whoever wants them, everything
else by py-amqp, with which the buffer is shared.  Frames that a synchronous call left in the buffer are
looked for at each turn's end, because the socket does not become readable for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from amqp.exceptions import UnexpectedFrame

from taskyard.broker.amqp_frames import Framing, read_delivery

#: Bytes of one read: a larger buffer costs the allocator a mapping each time.
_PIECE: Final = 1 << 16
#: py-amqp copies the rest of its buffer for each piece it takes: for it, reads are smaller.
_PY_AMQPS_PIECE: Final = 4096

_frame = Struct(">BHI").unpack_from
_DELIVER: Final = b"\x00\x3c\x00\x3c"

#: Takes a delivery (channel, arguments of the method, properties, body), or says that py-amqp is to.
OnDelivery = Callable[[int, bytes, dict[str, Any], bytes], bool]


class AmqpReader:
    """Handles what RabbitMQ sends, then calls `on_read`."""

    def __init__(
        self,
        connection: Any,
        loop: Any,
        on_read: Callable[[], None],
        on_delivery: OnDelivery | None = None,
    ) -> None:
        self._connection = connection
        self._transport = connection.transport
        self._loop = loop
        self._on_read = on_read
        self._on_delivery = on_delivery
        self._planned = False
        self._socket = self._transport.sock
        if type(self._transport).__name__ == "TCPTransport":
            receive = self._socket.recv
            self._transport._quick_recv = lambda size: receive(max(size, _PY_AMQPS_PIECE))
        #: TLS: bytes that are decrypted already do not make the socket readable either.
        self._pending = getattr(self._socket, "pending", None)
        for channel in connection.channels.values():
            channel._do_revive = _leave_closed
        self._make_channel, connection.Channel = connection.Channel, self._channel
        connection.on_inbound_frame = Framing(connection)
        # Between two frames "nothing there yet" ends the reading; within one py-amqp goes on.
        self._transport.raise_on_initial_eintr = True
        loop.add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        self._planned = False
        if not self._connection.connected:
            raise ConnectionResetError("RabbitMQ closed the connection")
        self._transport._read_buffer += self._receive()
        self._handle()
        self._on_read()

    def _receive(self) -> bytes:
        """What has come, without waiting for it."""
        transport = self._transport
        data: bytes = b""
        try:
            with transport.having_timeout(0):
                data = self._socket.recv(_PIECE)
        except TimeoutError:
            return b""
        except OSError:
            transport.connected = False
            raise
        if not data:
            transport.connected = False
            raise ConnectionResetError("RabbitMQ closed the connection")
        return data

    def _handle(self) -> None:
        """Handle all complete frames in the buffer."""
        transport, connection = self._transport, self._connection
        data: bytes = transport._read_buffer
        at, size = 0, len(data)
        while size - at >= 8:
            kind, channel, length = _frame(data, at)
            end = at + 8 + length
            if end > size:
                break
            start = at + 7
            if data[end - 1] != 0xCE:
                raise UnexpectedFrame(f"a frame ends with {data[end - 1]:#04x} instead of 0xce")
            if kind == 1 and self._on_delivery is not None and data.startswith(_DELIVER, start):
                message = read_delivery(data, end, size, channel)
                if message is not None:
                    after, properties, body = message
                    if self._on_delivery(channel, data[start + 4 : end - 1], properties, body):
                        connection.bytes_recv += 2 + bool(body)
                        at = after
                        continue
            # py-amqp may read on by itself while it handles a frame.
            transport._read_buffer = data[end:]
            connection.on_inbound_frame((kind, channel, data[start : end - 1]))
            data = transport._read_buffer
            at, size = 0, len(data)
        transport._read_buffer = data[at:]

    def _channel(self, *arguments: Any, **options: Any) -> Any:
        channel = self._make_channel(*arguments, **options)
        channel._do_revive = _leave_closed
        return channel

    def look_again(self) -> None:
        """Come back in the next turn if there is a whole frame in the buffer, or perhaps behind TLS."""
        if self._planned:
            return
        data = self._transport._read_buffer
        if (len(data) >= 8 and len(data) >= 8 + _frame(data)[2]) or (self._pending and self._pending()):
            self._planned = True
            self._loop.call_soon(self._again)

    def _again(self) -> None:
        if self._planned:
            self._readable()

    def stop(self) -> None:
        """Read no more."""
        self._planned = False
        with contextlib.suppress(Exception):
            self._loop.remove(self._socket)


def _leave_closed() -> None:
    """py-amqp opens a channel that RabbitMQ has closed again by itself, without its consumers, and waits for
    the answer in the midst of our reading. Here the error must come out: all is built anew then.
    """
