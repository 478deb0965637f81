"""A plain connection to one Redis: TCP, a password at most.  TLS, Sentinel and the like are redis-py's."""

import socket
from dataclasses import dataclass
from struct import pack as pack_struct
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from taskyard.broker.redis.errors import RedisConnectionError
from taskyard.broker.redis.resp import INCOMPLETE, ErrorReply, RespReader, pack

_PORT: Final = 6379


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Redis is, and who we are there."""

    host: str
    port: int
    user: str | None
    password: str | None
    database: int

    @classmethod
    def of(cls, url: str) -> "Address | None":
        """The address that a redis:// URL means to kombu; None when it says more than that."""
        try:
            where = urlsplit(url)
            port = where.port
            database = int(unquote(where.path).strip("/") or 0)
        except ValueError:
            return None
        if where.scheme != "redis" or where.query or where.fragment or ";" in url or database < 0:
            return None
        host = unquote(where.hostname or "") or "127.0.0.1"
        if "://" in host:
            return None
        user, password = unquote(where.username or ""), unquote(where.password or "")
        return cls(host, port or _PORT, user or None, password or None, database)


class PlainConnection:
    """What ``Pipe`` asks of a connection: ``connect``, the socket, ``disconnect``."""

    def __init__(self, address: Address, *, connect_timeout: float | None, timeout: float) -> None:
        self._address = address
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._sock: Any = None

    def connect(self) -> None:
        """Connect, say who we are, choose the database."""
        where = self._address
        try:
            self._sock = socket.create_connection((where.host, where.port), self._connect_timeout)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sock.settimeout(self._timeout)
            if where.user:
                self._request(b"AUTH", where.user.encode(), (where.password or "").encode())
            elif where.password:
                self._request(b"AUTH", where.password.encode())
            if where.database:
                self._request(b"SELECT", b"%d" % where.database)
        except OSError as error:
            self.disconnect()
            if isinstance(error, RedisConnectionError):
                raise
            place = f"{where.host}:{where.port}"
            raise RedisConnectionError(f"cannot connect to Redis at {place}: {_reason(error)}") from error

    def wait_in_kernel(self) -> bool:
        """Let the kernel watch the time of each wait, which is one call then instead of two; it ends with
        BlockingIOError.  Sockets that wait otherwise (gevent's, eventlet's) stay as they are: False.
        """
        if type(self._sock).__module__ != "socket":
            return False
        span = pack_struct("ll", int(self._timeout), 0)
        self._sock.settimeout(None)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, span)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, span)
        return True

    def _request(self, *command: bytes) -> None:
        self._sock.sendall(pack(*command))
        reader = RespReader()
        while True:
            reply = reader.next()
            if reply is not INCOMPLETE:
                break
            data = self._sock.recv(4096)
            if not data:
                raise RedisConnectionError("Redis closed the connection")
            reader.feed(data)
        if isinstance(reply, ErrorReply):
            raise RedisConnectionError(str(reply))

    def disconnect(self) -> None:
        """Close."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
