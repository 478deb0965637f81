"""A plain connection to one Redis: TCP, a password at most.  TLS, Sentinel and the like are redis-py's."""

import socket
from collections.abc import Mapping
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
        return cls.within(url) if url.startswith("redis:") and "?" not in url else None

    @classmethod
    def within(cls, url: str) -> "Address | None":
        """The address in a redis:// or rediss:// URL that says no more than that, except about TLS."""
        try:
            where = urlsplit(url)
            port = where.port
            database = int(unquote(where.path).strip("/") or 0)
        except ValueError:
            return None
        if where.scheme not in ("redis", "rediss") or where.fragment or ";" in url or database < 0:
            return None
        if not all(part.startswith("ssl_") for part in where.query.split("&") if part):
            return None
        host = unquote(where.hostname or "") or "127.0.0.1"
        if "://" in host:
            return None
        user, password = unquote(where.username or ""), unquote(where.password or "")
        return cls(host, port or _PORT, user or None, password or None, database)


class PlainConnection:
    """What ``Pipe`` asks of a connection: ``connect``, the socket, ``disconnect``."""

    def __init__(
        self,
        address: Address,
        *,
        connect_timeout: float | None,
        timeout: float,
        keepalive: Mapping[int, int] | None = None,
    ) -> None:
        """`keepalive` are options of TCP that go with SO_KEEPALIVE; None leaves that off."""
        self._address = address
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._keepalive = keepalive
        self._sock: Any = None

    def connect(self) -> None:
        """Connect, say who we are, choose the database."""
        where = self._address
        try:
            self._sock = socket.create_connection((where.host, where.port), self._connect_timeout)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._keepalive is not None:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in self._keepalive.items():
                    self._sock.setsockopt(socket.IPPROTO_TCP, option, value)
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


def wait_in_kernel(sock: Any, seconds: float) -> bool:
    """Let the kernel watch the time of each wait, which is one call then instead of two; it ends with
    BlockingIOError.  Sockets that wait otherwise (gevent's, eventlet's, those with TLS) do it themselves,
    and end with TimeoutError: False.
    """
    if type(sock).__module__ != "socket":
        sock.settimeout(seconds)
        return False
    span = pack_struct("ll", int(seconds), int(seconds % 1 * 1_000_000))
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, span)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, span)
    return True


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
