"""A connection for publishing to Redis; a plain one takes neither kombu nor redis-py."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import count
from select import POLLIN, poll
from socket import MSG_DONTWAIT
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from taskyard.broker.addresses import addresses_for
from taskyard.broker.connection import is_redis
from taskyard.broker.lines import Lines
from taskyard.broker.redis.errors import RedisConnectionError
from taskyard.broker.redis.pipe import as_exception
from taskyard.broker.redis.place import Place, place_for
from taskyard.broker.redis.plain import wait_in_kernel
from taskyard.broker.redis.resp import INCOMPLETE, ErrorReply, RespReader, pack
from taskyard.broker.redis.stencil import Stencil, list_for, text_of
from taskyard.errors import BrokerDisconnected
from taskyard.message.alike import Alike
from taskyard.message.identity import new_id

if TYPE_CHECKING:
    from taskyard.client.router import Route
    from taskyard.message.protocol import TaskMessage
    from taskyard.settings import Settings

#: A line that was idle for longer, seconds, is looked at before it is used: the server may have closed it.
_IDLE_SECONDS: Final = 1.0
#: In a burst a reply is looked for so often before the kernel is to wait for it: a Redis on the same machine
#: answers sooner than a process that sleeps is woken up.  It is a burst within so many seconds after a reply,
#: and who takes longer than that to answer is looked for ever less, until an answer was quick again.
_LOOKS: Final = 40 if hasattr(os, "sched_yield") else 0
_BURST_SECONDS: Final = 0.001
_QUICK_SECONDS: Final = 0.00015
#: Messages in one command.
_IN_ONE_COMMAND: Final = 500


class RedisLine:
    """One open connection, and what was declared on it."""

    __slots__ = (
        "_connection", "_looks", "_most", "_reader", "_reply_seconds", "_sock", "_tags", "_used_at",
        "declared", "names", "url",
    )  # fmt: skip

    def __init__(self, url: str, place: Place) -> None:
        self.url = url
        self.names = place.names
        self.declared: set[str] = set()
        self._reply_seconds = place.reply_seconds
        try:
            self._connection = place.connection()
            self._connection.connect()
        finally:
            place.close()
        self._sock = self._connection._sock
        self._looks = self._most = _LOOKS if wait_in_kernel(self._sock, self._reply_seconds) else 0
        self._reader = RespReader()
        # One line, one thread: no two messages have the same tag.
        self._tags = map(f"{new_id()}-%d".__mod__, count())
        self._used_at = monotonic()

    @property
    def usable(self) -> bool:
        """Whether the server has not hung up meanwhile."""
        if monotonic() - self._used_at < _IDLE_SECONDS:
            return True
        poller = poll()
        poller.register(self._sock, POLLIN)
        return not poller.poll(0)

    def declare(self, queue: str | None, entity: Any) -> None:
        """Bind a queue, once, to the direct exchange of its name, or to its own."""
        name = queue or entity.name
        if name in self.declared:
            return
        exchange, key = (name, name) if entity is None else (entity.exchange.name, entity.routing_key)
        if exchange:
            self.request(
                [pack(b"SADD", each, member) for each, member in self.names.bindings(exchange, key, name)]
            )
        self.declared.add(name)

    def publish(self, messages: Iterable[tuple[TaskMessage | Alike, Route, int]]) -> None:
        """Put messages into their queues; Redis has them when this returns."""
        lists: dict[bytes, list[bytes]] = {}
        for message, route, mode in messages:
            key, text = self._written(message, route, mode)
            if key in lists:
                lists[key].append(text)
            else:
                lists[key] = [text]
        self.request(
            [
                pack(b"LPUSH", key, *texts[at : at + _IN_ONE_COMMAND])
                for key, texts in lists.items()
                for at in range(0, len(texts), _IN_ONE_COMMAND)
            ]
        )

    def publish_one(self, message: TaskMessage | Alike, route: Route, mode: int) -> None:
        """The same with one: what most programs do, and wait for."""
        key, text = self._written(message, route, mode)
        self.request([pack(b"LPUSH", key, text)])

    def _written(self, message: TaskMessage | Alike, route: Route, mode: int) -> tuple[bytes, bytes]:
        """The list that a message goes to, and its text."""
        names, tag = self.names, next(self._tags)
        if type(message) is Alike:
            stencil = message.first.stencil
            if stencil is None or not stencil.fits(route, mode, names):
                stencil = message.first.stencil = Stencil(message.first, route, mode, names)
            return stencil.key, stencil.text_of(message, tag)
        priority = message.priority if message.priority is not None else route.priority or 0
        text = text_of(message, route.routing_key, priority, mode, tag)
        return list_for(names, route.routing_key, priority), text

    def request(self, commands: list[bytes]) -> None:
        """Send commands and wait for a reply to each; the first error among them is raised."""
        reader, sock, began = self._reader, self._sock, monotonic()
        looks = self._looks
        if began - self._used_at > _BURST_SECONDS:
            looks, self._looks = 0, self._most
        failure: ErrorReply | None = None
        try:
            sock.sendall(commands[0] if len(commands) == 1 else b"".join(commands))
            left = len(commands)
            while left:
                data = self._look(looks) or sock.recv(4096)
                if not data:
                    raise RedisConnectionError("Redis closed the connection")
                reader.feed(data)
                while left and (reply := reader.next()) is not INCOMPLETE:
                    left -= 1
                    if type(reply) is ErrorReply and failure is None:
                        failure = reply
        except (BlockingIOError, TimeoutError) as error:
            raise RedisConnectionError(f"Redis has not answered for {self._reply_seconds:g} s") from error
        except OSError as error:
            if isinstance(error, RedisConnectionError):
                raise
            raise RedisConnectionError(f"the connection to Redis is lost: {error}") from error
        self._used_at = now = monotonic()
        if now - began < _QUICK_SECONDS:
            self._looks = self._most
        elif looks:
            self._looks = looks // 2
        if failure is not None:
            raise as_exception(failure)

    def _look(self, times: int) -> bytes | None:
        """What has come, or comes in a moment."""
        receive = self._sock.recv
        for _ in range(times):
            try:
                data: bytes = receive(4096, MSG_DONTWAIT)
            except BlockingIOError:
                os.sched_yield()
            else:
                return data
        return None

    def broke_with(self, error: BaseException) -> bool:
        """Whether an error means that the connection is gone, so that another one may do better."""
        return isinstance(error, (OSError, BrokerDisconnected))

    def close(self) -> None:
        """End the connection."""
        self._connection.disconnect()

    #: All that was sent has been answered.
    hang_up = close


class RedisLines(Lines):
    """A pool of such lines."""

    def take(self) -> Any:
        """A line whose server has not hung up."""
        while True:
            line: Any = super().take()
            if line.usable:
                return line
            self.drop(line)

    def _connect_to(self, url: str) -> Any:
        return RedisLine(url, place_for(self._settings, url))


def redis_lines(settings: Settings) -> RedisLines | None:
    """Lines to Redis (or to several that stand in for each other); None where kombu has to write."""
    if "body_encoding" in settings.broker_transport_options:
        return None
    urls = addresses_for(settings, write=True).urls
    return RedisLines(settings) if all(map(is_redis, urls)) else None
