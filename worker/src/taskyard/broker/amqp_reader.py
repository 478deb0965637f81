"""Reading from RabbitMQ in large pieces.

py-amqp reads each frame by three small reads, each with a new timeout on the socket: half of what a
message costs. Here the socket is read in pieces of several kilobytes into py-amqp's own buffer, and all
complete frames of it are handled at once.  Frames that a synchronous call left in the buffer are looked
for at each turn's end, because the socket does not become readable for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from taskyard.broker.amqp_frames import Framing

#: Bytes of one read; py-amqp copies the rest of its buffer for each piece it takes, so it must not be huge.
_PIECE = 4096
#: Frames that are handled before the loop gets its turn.
_FRAMES_A_TURN = 600


class AmqpReader:
    """Handles what RabbitMQ sends, then calls `on_read`."""

    def __init__(self, connection: Any, loop: Any, on_read: Callable[[], None]) -> None:
        self._connection = connection
        self._transport = connection.transport
        self._loop = loop
        self._on_read = on_read
        self._planned = False
        self._socket = self._transport.sock
        if type(self._transport).__name__ == "TCPTransport":
            receive = self._socket.recv
            self._transport._quick_recv = lambda size: receive(size if size > _PIECE else _PIECE)
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
        connection, transport = self._connection, self._transport
        if not connection.connected:
            raise ConnectionResetError("RabbitMQ closed the connection")
        read_frame, on_frame = transport.read_frame, connection.on_inbound_frame
        handling = False
        try:
            with transport.having_timeout(0):
                for _ in range(_FRAMES_A_TURN):
                    frame = read_frame()
                    handling = True
                    on_frame(frame)
                    handling = False
        except TimeoutError:
            if handling:
                raise
        self._on_read()

    def _channel(self, *arguments: Any, **options: Any) -> Any:
        channel = self._make_channel(*arguments, **options)
        channel._do_revive = _leave_closed
        return channel

    def look_again(self) -> None:
        """Come back in the next turn if there is something in the buffer."""
        if (self._transport._read_buffer or (self._pending and self._pending())) and not self._planned:
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
