"""The turn of the loop: hands over what came, sends what is due, and waits for news."""

from contextlib import suppress
from queue import Empty
from time import monotonic
from typing import Any

from kombu.transport import redis as kombu_redis
from kombu.utils.eventio import ERR, READ

from taskyard.broker.alarm import Alarm


class Poller(kombu_redis.MultiChannelPoller):  # type: ignore[misc]
    """Drives the channels of a transport, from an event loop or from ``drain_events``.

    kombu's own is kept for broadcasts: bindings that expire, health of the subscription, new credentials.
    """

    def __init__(self, transport: Any) -> None:
        super().__init__()
        self.transport = transport
        self.loop: Any = None
        self._alarm: Alarm | None = None
        self.in_turn = False
        self._handlers: dict[int, tuple[Any, Any]] = {}
        self._listening: dict[Any, tuple[Any, int, frozenset[str]]] = {}

    def turn(self) -> int:
        """One turn; returns how many messages were handed over. Raises what broke the connection."""
        session = self.transport.session
        self.in_turn = True
        try:
            delivered = 0
            if session is not None:
                session.check()
                channels = list(self._channels)
                for channel in channels:
                    delivered += channel.deliver()
                if self.transport.session is not session:
                    return delivered  # a consumer closed it
                now = monotonic()
                self.transport.lease.tick(now)
                self.transport.check_replies()
                for channel in channels:
                    channel.turn(now)
                session.send()
                if session.pipe.fileno() not in self._handlers:
                    session.before_close = self._watch(session.pipe, self._on_pipe)
            for channel in list(self._channels):
                if channel.active_fanout_queues:
                    self._listen(channel)
            at = self.next_at()
            if self._alarm is not None and at is not None:
                self._alarm.set(at)
            return delivered
        finally:
            self.in_turn = False

    on_poll_start = turn

    def _on_pipe(self) -> int:
        session = self.transport.session
        if session is None:
            return 0
        self.in_turn = True
        try:
            session.read()
            return sum(channel.deliver() for channel in list(self._channels))
        finally:
            self.in_turn = False

    def _on_broadcast(self, channel: Any) -> int:
        return 1 if channel._receive() else 0

    def _listen(self, channel: Any) -> None:
        subclient = channel.subclient
        if subclient.connection is None:
            subclient.connection = subclient.connection_pool.get_connection()
        connection = subclient.connection
        if connection._sock is None:
            connection.connect()
        topics = frozenset(
            topic for queue in channel.active_fanout_queues for topic in channel._get_subscribe_topics(queue)
        )
        fd = connection._sock.fileno()
        known = self._listening.get(channel)
        if known is not None and known[:2] == (connection, fd):
            if known[2] == topics:
                return
        else:
            self._watch(connection._sock, lambda: self._on_broadcast(channel))
        self._listening[channel] = connection, fd, topics
        channel._subscribe()

    def _watch(self, source: Any, handler: Any) -> Any:
        """Call the handler when the source can be read; returns what ends that."""
        fd = source.fileno()
        self._forget(fd)
        self._handlers[fd] = handler, source
        if self.loop is not None:
            self.loop.add_reader(fd, self.on_readable, fd)
        else:
            self.poller.register(fd, READ | ERR)
        return lambda: self._forget(fd)

    def _forget(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is None:
            return
        if self.loop is not None:
            self.loop.remove_reader(fd)
        else:
            with suppress(KeyError, ValueError, OSError):
                self.poller.unregister(fd)

    def on_readable(self, fileno: int) -> int:
        """Handle what can be read; returns how many messages were handed over."""
        known = self._handlers.get(fileno)
        if known is None:
            return 0
        try:
            handled: int = known[0]()
        except Empty:
            return 0
        return handled

    def get(self, callback: Any, timeout: float | None = None) -> None:
        """Wait until at least one message was handed over; raises ``Empty`` when there was none in time."""
        self.maybe_refresh_binding_expiry()
        delivered = self.turn()
        try:
            if not delivered:
                for fd, _ in self.poller.poll(self._patience(timeout)) or ():
                    delivered += self.on_readable(fd)
        finally:
            # Without a loop there may be no next turn for a long time.
            self._settle()
        if not delivered:
            raise Empty

    def _settle(self) -> None:
        session = self.transport.session
        if session is not None and session.usable:
            for channel in list(self._channels):
                channel.send_settlements()
            session.send()

    def _patience(self, timeout: float | None) -> float:
        longest = 1.0 if timeout is None else min(timeout, 1.0)
        at = self.next_at()
        return longest if at is None else max(0.0, min(longest, at - monotonic()))

    def next_at(self) -> float | None:
        """When the next turn is due without news from the broker, by the monotonic clock."""
        if self.transport.session is None:
            return None
        at: float = self.transport.lease.next_at
        for channel in self._channels:
            if channel.resume_at is not None:
                at = min(at, channel.resume_at)
        return at

    def attach(self, loop: Any) -> None:
        """Use an event loop from now on."""
        for fd in list(self._handlers):
            self._forget(fd)
        if self._alarm is not None:
            self._alarm.close()
        self._listening.clear()
        for channel in self._channels:
            channel._in_listen = None
        session = self.transport.session
        if session is not None:
            session.before_close = None
        self.loop = loop
        with suppress(AttributeError, OSError):  # other systems than Linux: the timers of the loop must do
            self._alarm = Alarm()
            self._watch(self._alarm, self._alarm.heard)

    def close(self) -> None:
        """Forget all descriptors."""
        for fd in list(self._handlers):
            self._forget(fd)
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None
        self._listening.clear()
        self._channels.clear()

    def discard(self, channel: Any) -> None:
        """Forget a channel."""
        self._channels.discard(channel)
        known = self._listening.pop(channel, None)
        if known is not None:
            self._forget(known[1])

    def _on_connection_disconnect(self, connection: Any) -> None:
        for channel, known in list(self._listening.items()):
            if known[0] is connection:
                del self._listening[channel]
                self._forget(known[1])

    @property
    def fds(self) -> dict[int, Any]:
        """The descriptors that are watched."""
        return {fd: source for fd, (_, source) in self._handlers.items()}
