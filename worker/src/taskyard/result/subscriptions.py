"""A thread's own connection on which Redis announces results: ours to a plain one, else redis-py's."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from taskyard.broker.redis.errors import RedisConnectionError, RedisTimeoutError, ReplyError
from taskyard.broker.redis.plain import Address, PlainConnection
from taskyard.broker.redis.resp import INCOMPLETE, ErrorReply, ProtocolError, Push, RespReader, pack
from taskyard.result.redis_plain import plain_address

if TYPE_CHECKING:
    from taskyard.result.backends.redis import RedisBackend

#: Keys and their values, None where nothing is stored.
Found = list[tuple[str, Any]]

_KEYS_A_CALL = 1000
#: The most results that are read by the connection that listens.
_TOGETHER = 20
_CHUNK = 1 << 16
#: A connection that was idle for longer, seconds, is looked at before it is used.
_IDLE_SECONDS = 1.0
#: Seconds for a confirmation or an answer.
_ANSWER_SECONDS = 10.0


class Subscription(Protocol):
    """What tells about results."""

    def open(self, keys: list[str], *, apart: bool = False) -> Found:
        """Subscribe to the channels of these keys and read what is stored: nothing comes between.

        It is read `apart` where this connection was lost before: Redis gives up those that listen and have
        too much to read (32 MB, if client-output-buffer-limit says no more).
        """

    def message(self, timeout: float) -> tuple[str, Any] | None:
        """The next announcement: channel and value; None after `timeout` seconds, or earlier."""

    def close(self) -> None:
        """Hear no more of these keys."""


class PlainSubscription:
    """Subscribes and reads in one write, by RESP3."""

    def __init__(
        self, address: Address, connect_timeout: float | None, read: Callable[[list[str]], list[Any]]
    ) -> None:
        """`read` gives what is stored, by another connection."""
        self._read = read
        self._connection = PlainConnection(address, connect_timeout=connect_timeout, timeout=_ANSWER_SECONDS)
        self._heard: deque[tuple[str, bytes]] = deque()
        self._keys: list[bytes] = []
        self._old: list[bytes] = []
        #: Something may have been read and lost.
        self._reading = False
        self._connect()

    def _connect(self) -> None:
        self._connection.connect()
        self._sock = self._connection._sock
        self._reader = RespReader()
        self._old.clear()
        self._used_at = time.monotonic()
        self._sock.sendall(pack(b"HELLO", b"3"))
        self._answer()

    def open(self, keys: list[str], *, apart: bool = False) -> Found:
        """Subscribe to the channels of these keys and read what is stored: nothing comes between."""
        apart = apart or len(keys) > _TOGETHER
        if time.monotonic() - self._used_at > _IDLE_SECONDS and not self._is_sound():
            self._connection.disconnect()
            self._connect()
        self._heard.clear()
        self._keys = raw = [key.encode() for key in keys]
        self._sock.settimeout(_ANSWER_SECONDS)
        end = pack(b"PING") if apart else pack(b"MGET", *raw)
        values: list[Any] = []
        for some in _parts(raw):
            commands = [pack(b"SUBSCRIBE", *some), end]
            if self._old:
                commands.insert(0, pack(b"UNSUBSCRIBE", *self._old))
                self._old = []
            self._sock.sendall(b"".join(commands))
            values = self._answer()
        return list(zip(keys, self._read(keys) if apart else values, strict=True))

    def message(self, timeout: float) -> tuple[str, Any] | None:
        """The next announcement: channel and value; None after `timeout` seconds, or earlier."""
        if not self._heard:
            self._hear()  # what came together with the answer to `open`
        if not self._heard:
            self._sock.settimeout(max(timeout, 0.001))
            self._reading = True
            try:
                self._receive()
            except TimeoutError:
                self._reading = False
                return None
            self._hear()
            self._reading = False
        return self._heard.popleft() if self._heard else None

    def _hear(self) -> None:
        while (reply := self._next()) is not INCOMPLETE:
            if type(reply) is not Push:
                raise RedisConnectionError(f"Redis answered unasked: {reply!r}")
            self._note(reply)

    def close(self) -> None:
        """Hear no more of these keys: of a single one from the next time on, which costs nothing."""
        if self._reading:
            raise RedisConnectionError("reading was interrupted")
        self._used_at = time.monotonic()
        self._old, self._keys = self._keys, []
        if len(self._old) > 1:
            self._sock.settimeout(_ANSWER_SECONDS)
            self._sock.sendall(pack(b"UNSUBSCRIBE"))
            self._old = []

    def _answer(self) -> Any:
        while True:
            reply = self._next()
            if reply is INCOMPLETE:
                try:
                    self._receive()
                except TimeoutError:
                    raise RedisTimeoutError(f"Redis has not answered for {_ANSWER_SECONDS:g} s") from None
            elif type(reply) is Push:
                self._note(reply)
            elif type(reply) is ErrorReply:
                raise ReplyError(str(reply))
            else:
                return reply

    def _next(self) -> Any:
        try:
            return self._reader.next()
        except ProtocolError as error:
            raise RedisConnectionError(str(error)) from error

    def _receive(self) -> None:
        data = self._sock.recv(_CHUNK)
        if not data:
            raise RedisConnectionError("Redis closed the connection")
        self._reader.feed(data)

    def _note(self, push: Push) -> None:
        if len(push) == 3 and push[0] == b"message":
            self._heard.append((push[1].decode(), push[2]))

    def _is_sound(self) -> bool:
        """Whether the server has neither hung up nor said what nobody had asked for."""
        self._sock.settimeout(0)
        try:
            while True:
                self._receive()
        except BlockingIOError:
            pass
        except OSError:
            return False
        while (reply := self._next()) is not INCOMPLETE:
            if type(reply) is not Push:
                return False
        return True


class RedisPySubscription:
    """By redis-py: TLS, Sentinels, whatever it can do."""

    def __init__(self, backend: RedisBackend) -> None:
        self._backend = backend
        self._pubsub = backend.client.pubsub()

    def open(self, keys: list[str], *, apart: bool = True) -> Found:
        """Subscribe to the channels of these keys, then read what is stored."""
        pubsub = self._pubsub
        pubsub.subscribe(*keys)
        unconfirmed = set(keys)
        deadline = time.monotonic() + _ANSWER_SECONDS
        while unconfirmed:
            answer = pubsub.get_message(timeout=_ANSWER_SECONDS)
            if answer is not None and answer["type"] == "subscribe":
                unconfirmed.discard(_text(answer["channel"]))
            elif time.monotonic() > deadline:
                raise self._backend.connection_errors[0]("Redis does not confirm the subscription")
        return list(zip(keys, self._backend.mget(keys), strict=True))

    def message(self, timeout: float) -> tuple[str, Any] | None:
        """The next announcement: channel and value; None after `timeout` seconds, or earlier."""
        announced = self._pubsub.get_message(ignore_subscribe_messages=True, timeout=timeout)
        if announced is None or announced["type"] != "message":
            return None
        return _text(announced["channel"]), announced["data"]

    def close(self) -> None:
        """Hear no more of these keys."""
        self._pubsub.unsubscribe()


class Subscriptions:
    """Makes them; knows whether a plain one will do."""

    def __init__(self, backend: RedisBackend) -> None:
        self._backend = backend
        self._plain = _plain_address(backend)

    def new(self) -> Subscription:
        """A connection of the calling thread's own."""
        if self._plain is not None:
            try:
                timeout = self._backend.app.conf.redis_socket_connect_timeout
                return PlainSubscription(self._plain, timeout, self._backend.mget)
            except ReplyError:
                self._plain = None  # an old server, or something that stands for one
        return RedisPySubscription(self._backend)

    @property
    def owner(self) -> Any:
        """What a subscription must not outlive: this process, and redis-py's client."""
        return os.getpid(), self._backend.client


def _plain_address(backend: RedisBackend) -> Address | None:
    from taskyard.result.backends.redis import RedisBackend

    conf = backend.app.conf
    if type(backend) is not RedisBackend or conf.redis_max_connections:
        return None
    return plain_address(backend.url or "", conf)


def _parts(keys: list[bytes]) -> Iterator[list[bytes]]:
    return (keys[start : start + _KEYS_A_CALL] for start in range(0, len(keys), _KEYS_A_CALL))


def _text(raw: bytes | str) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw
