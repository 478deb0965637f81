"""Publishing many messages to RabbitMQ: written together, confirmed together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskyard.broker.amqp_stencil import frames_of, prepared, write
from taskyard.errors import BrokerError

if TYPE_CHECKING:
    from taskyard.client.router import Route
    from taskyard.message.alike import Alike

#: Bytes of messages that go out in one write.
_IN_ONE_WRITE = 1 << 16


class Confirmed:
    """Publishes on a new channel, whose delivery tags count from 1; the broker confirms each message."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._published = self._refused = 0
        self._open_tags: set[int] = set()
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        channel.confirm_select()
        channel.events["basic_ack"].add(self._settled)
        channel.events["basic_nack"].add(self._nacked)

    def __call__(self, *args: Any, **options: Any) -> None:
        """Publish, with the channel's own arguments."""
        options.pop("confirm_timeout", None)
        self._send()
        self._count()
        self._channel._basic_publish(*args, **options)

    def alike(self, message: Alike, route: Route, delivery_mode: int) -> None:
        """Publish one of many that are alike."""
        frames = frames_of(self._channel, message, route, delivery_mode)
        if frames is None:
            whole = prepared(self._channel, message, route, delivery_mode)
            self(whole, exchange=route.exchange, routing_key=route.routing_key)
            return
        self._count()
        self._unsent.append(frames)
        self._unsent_bytes += len(frames)
        if self._unsent_bytes > _IN_ONE_WRITE:
            self._send()

    def _count(self) -> None:
        self._published += 1
        self._open_tags.add(self._published)

    def _send(self) -> None:
        if not self._unsent:
            return
        frames = b"".join(self._unsent)
        self._unsent.clear()
        self._unsent_bytes = 0
        write(self._channel, frames)

    def wait(self) -> None:
        """Until all is confirmed; BrokerError if the broker refuses any."""
        self._send()
        while self._open_tags:
            self._channel.connection.drain_events()
        if self._refused:
            raise BrokerError(f"RabbitMQ refused {self._refused} of {self._published} messages")

    def _settled(self, tag: int, multiple: bool) -> int:
        open_tags = self._open_tags
        told = {each for each in open_tags if each <= tag} if multiple else {tag}
        open_tags.difference_update(told)
        return len(told)

    def _nacked(self, tag: int, multiple: bool) -> None:
        self._refused += self._settled(tag, multiple)
