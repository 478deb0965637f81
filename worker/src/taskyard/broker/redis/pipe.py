"""One connection to Redis for an event loop: commands go out in batches, replies come back in order."""

import select
import socket
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from taskyard.broker.redis.errors import RedisConnectionError, RedisTimeoutError, ReplyError
from taskyard.broker.redis.resp import INCOMPLETE, ErrorReply, ProtocolError, Push, RespReader, pack
from taskyard.broker.redis.scripts import Script

OnReply = Callable[[Any], None]

#: Larger ones are mapped and unmapped by the allocator for each read, which costs more than the read.
_CHUNK = 1 << 16
#: What a wait for replies may last (seconds), and one of a consumer that is about to go.
WAIT_SECONDS, LEAVE_SECONDS = 30.0, 8.0

_TLS_WANTS = {"SSLWantReadError": select.POLLIN, "SSLWantWriteError": select.POLLOUT}
"""What TLS raises where a bare socket would block, by name: most connections need no ssl."""

_GONE = frozenset({"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "NOREPLICAS"})
"""Errors after which another connection, perhaps to another server, is the remedy."""


def as_exception(error: ErrorReply) -> Exception:
    """The exception for an error reply: is another connection the remedy?"""
    if error.code in _GONE:
        return RedisConnectionError(f"Redis cannot serve: {error}")
    return ReplyError(str(error))


def check(reply: Any) -> None:
    """Raise what an error reply says; any other is as it should be."""
    if isinstance(reply, ErrorReply):
        raise as_exception(reply)


class Pipe:
    """Sends commands without waiting and calls back with each reply; errors of the connection are raised.

    ``connection`` is unconnected, a ``PlainConnection`` or redis-py's: it does the addressing, TLS and
    authentication.
    A handler of a reply may queue further commands, but must not read.
    """

    def __init__(self, connection: Any, on_push: Callable[[Push], None]) -> None:
        connection.connect()
        self._connection = connection
        self._socket: socket.socket = connection._sock
        self._socket.setblocking(False)
        self._tls = hasattr(self._socket, "pending")
        self._reader = RespReader()
        self._on_push = on_push
        self._out: list[bytes] = []
        self._expected: deque[tuple[float, OnReply]] = deque()
        self.closed = False
        #: Seconds that a wait for replies lasts at most.
        self.patience = WAIT_SECONDS

    def fileno(self) -> int:
        """The file descriptor, for a poller."""
        return self._socket.fileno()

    @property
    def outstanding(self) -> int:
        """How many commands have not been answered."""
        return len(self._expected)

    def overdue(self, seconds: float) -> bool:
        """Whether the oldest unanswered command has waited longer than that."""
        return bool(self._expected) and monotonic() - self._expected[0][0] > seconds

    def call(self, on_reply: OnReply, *arguments: bytes) -> None:
        """Queue a command; ``send`` makes it leave."""
        self.call_packed(on_reply, pack(*arguments))

    def tell(self, *arguments: bytes) -> None:
        """Queue a command that is answered by pushes only (SUBSCRIBE in RESP3)."""
        self._out.append(pack(*arguments))

    def call_packed(self, on_reply: OnReply, command: bytes) -> None:
        """Queue a command that is already encoded."""
        self._out.append(command)
        self._expected.append((monotonic(), on_reply))

    def call_script(
        self, on_reply: OnReply, script: Script, keys: list[bytes], arguments: list[bytes] | tuple[bytes, ...]
    ) -> None:
        """Queue a script; should the server have forgotten it, it is sent again in full."""

        def retry_unknown(reply: Any) -> None:
            if type(reply) is ErrorReply and reply.code == "NOSCRIPT":
                self.call(on_reply, b"EVAL", script.source, *operands)
            else:
                on_reply(reply)

        operands = [b"%d" % len(keys), *keys, *arguments]
        self.call(retry_unknown, b"EVALSHA", script.sha, *operands)

    def send(self) -> None:
        """Write everything queued."""
        if not self._out:
            return
        data = memoryview(self._out[0] if len(self._out) == 1 else b"".join(self._out))
        self._out = []
        deadline = monotonic() + self.patience
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                self._await(select.POLLOUT, deadline)
            except OSError as error:
                event = _TLS_WANTS.get(type(error).__name__)
                if event is not None:
                    self._await(event, deadline)
                    continue
                raise RedisConnectionError(f"Redis does not take commands: {error}") from error

    def read(self) -> int:
        """Handle every reply that has arrived, and send what its handlers have queued; returns how many."""
        handled = self.take_in()
        self.send()
        return handled

    def take_in(self) -> int:
        """Handle every reply that has arrived; returns how many.  What is queued waits for `send`."""
        alive = self._receive()
        handled = 0
        while True:
            try:
                reply = self._reader.next()
            except ProtocolError as error:
                raise RedisConnectionError(str(error)) from error
            if reply is INCOMPLETE:
                break
            handled += 1
            if type(reply) is Push:
                self._on_push(reply)
            elif self._expected:
                self._expected.popleft()[1](reply)
            else:
                raise RedisConnectionError(f"Redis answered unasked: {reply!r}")
        if not alive:
            raise RedisConnectionError("Redis closed the connection")
        return handled

    def _receive(self) -> bool:
        while True:
            try:
                data = self._socket.recv(_CHUNK)
            except BlockingIOError:
                return True
            except OSError as error:
                if type(error).__name__ in _TLS_WANTS:
                    return True
                raise RedisConnectionError(f"Redis cannot be read: {error}") from error
            if not data:
                return False
            self._reader.feed(data)
            if not self._tls and len(data) < _CHUNK:
                return True

    def wait(self, seconds: float | None = None) -> None:
        """Send what is queued and block until every reply has come; raises ``RedisTimeoutError``."""
        self.send()
        deadline = monotonic() + (self.patience if seconds is None else seconds)
        while self._expected:
            if not (self._tls and self._socket.pending()):  # type: ignore[attr-defined]
                self._await(select.POLLIN, deadline)
            self.read()

    def _await(self, event: int, deadline: float) -> None:
        left = deadline - monotonic()
        poller = select.poll()
        poller.register(self._socket, event)
        if left <= 0 or not poller.poll(left * 1000):
            raise RedisTimeoutError("Redis does not answer in time")

    def request(self, *arguments: bytes) -> Any:
        """Run one command and wait for its reply; raises ``ReplyError``."""
        return self._request(lambda on_reply: self.call(on_reply, *arguments))

    def request_script(self, script: Script, keys: list[bytes], arguments: list[bytes]) -> Any:
        """Run one script and wait for its reply; raises ``ReplyError``."""
        return self._request(lambda on_reply: self.call_script(on_reply, script, keys, arguments))

    def _request(self, queue: Callable[[OnReply], None]) -> Any:
        replies: list[Any] = []
        queue(replies.append)
        self.wait()
        if isinstance(replies[0], ErrorReply):
            raise as_exception(replies[0])
        return replies[0]

    def close(self) -> None:
        """Close the socket; what was not answered is never answered."""
        self.closed = True
        self._expected.clear()
        self._out = []
        self._connection.disconnect()
