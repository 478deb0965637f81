"""Receiving events over kombu: Celery's `EventReceiver`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from time import time
from typing import Any

from kombu import Queue
from kombu.connection import maybe_channel
from kombu.mixins import ConsumerMixin

from taskyard.errors import ImproperlyConfigured
from taskyard.events.event import adjust_timestamp, get_exchange
from taskyard.message.identity import new_id

__all__ = ("EventReceiver",)

#: Clients do not take part in the logical clock: their events count as this much older than what is known.
CLIENT_CLOCK_SKEW = -1


class EventReceiver(ConsumerMixin):  # type: ignore[misc]
    """Calls a handler for each event: by its type, or the one under "*"."""

    app: Any = None

    def __init__(
        self,
        channel: Any,
        handlers: Mapping[str, Callable[[dict[str, Any]], Any]] | None = None,
        routing_key: str = "#",
        node_id: str | None = None,
        app: Any = None,
        queue_prefix: str | None = None,
        accept: Iterable[str] | None = None,
        queue_ttl: float | None = None,
        queue_expires: float | None = None,
        queue_exclusive: bool | None = None,
        queue_durable: bool | None = None,
    ) -> None:
        if app is not None:
            self.app = app
        conf = self.app.conf
        self.channel = maybe_channel(channel)
        self.handlers = {} if handlers is None else handlers
        self.routing_key = routing_key
        self.node_id = node_id or new_id()
        self.queue_prefix = queue_prefix or conf.event_queue_prefix
        self.exchange = get_exchange(self.connection or self.app.connection_for_write(), conf.event_exchange)
        exclusive = conf.event_queue_exclusive if queue_exclusive is None else queue_exclusive
        durable = conf.event_queue_durable if queue_durable is None else queue_durable
        if exclusive and durable:
            raise ImproperlyConfigured(
                "event_queue_exclusive and event_queue_durable cannot both be True: an exclusive queue ends "
                "with its connection"
            )
        self.queue = Queue(
            f"{self.queue_prefix}.{self.node_id}",
            exchange=self.exchange,
            routing_key=routing_key,
            auto_delete=not durable,
            durable=durable,
            exclusive=exclusive,
            message_ttl=conf.event_queue_ttl if queue_ttl is None else queue_ttl,
            expires=conf.event_queue_expires if queue_expires is None else queue_expires,
        )
        self.clock = self.app.clock
        self.adjust_clock = self.clock.adjust
        self.forward_clock = self.clock.forward
        self.accept = {conf.event_serializer, "json"} if accept is None else accept
        #: Messages that may still come; None: any number.
        self._left: int | None = None

    @property
    def connection(self) -> Any:
        """The connection of the channel."""
        return self.channel.connection.client if self.channel else None

    def process(self, type: str, event: dict[str, Any]) -> None:
        """Call the handler for that type."""
        handler = self.handlers.get(type) or self.handlers.get("*")
        if handler is not None:
            handler(event)

    def get_consumers(self, Consumer: Any, channel: Any) -> list[Any]:  # noqa: N803  kombu's name
        """What kombu's mixin consumes."""
        return [Consumer(queues=[self.queue], callbacks=[self._receive], no_ack=True, accept=self.accept)]

    def on_consume_ready(
        self, connection: Any, channel: Any, consumers: Any, wakeup: bool = True, **kwargs: Any
    ) -> None:
        """Ask all workers for a heartbeat, so that they are known at once."""
        if wakeup:
            self.wakeup_workers(channel=channel)

    def consume(
        self, limit: int | None = None, timeout: float | None = None, safety_interval: int = 1, **kwargs: Any
    ) -> Iterator[Any]:
        """kombu's; `limit` counts messages, of which one look at the broker may bring many."""
        self._left = limit or None
        for each in super().consume(timeout=timeout, safety_interval=safety_interval, **kwargs):
            yield each
            if self._left == 0:
                return

    def itercapture(
        self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True
    ) -> Iterator[Any]:
        """Capture while the result is iterated over."""
        return self.consume(limit=limit, timeout=timeout, wakeup=wakeup)

    def capture(self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True) -> None:
        """Handle events until `limit` of them came, `timeout` seconds without any, or for ever."""
        for _ in self.consume(limit=limit, timeout=timeout, wakeup=wakeup):
            pass

    def wakeup_workers(self, channel: Any = None) -> None:
        """Ask all workers for a heartbeat."""
        self.app.control.broadcast("heartbeat", connection=self.connection, channel=channel)

    def event_from_message(
        self, body: dict[str, Any], localize: bool = True, now: Callable[[], float] = time
    ) -> tuple[str, dict[str, Any]]:
        """Type and event, with the logical clock seen to and the time in this machine's zone."""
        type: str = body["type"]
        if type == "task-sent":
            clock = body["clock"] = (self.clock.value or 1) + CLIENT_CLOCK_SKEW
            self.adjust_clock(clock)
        elif "clock" in body:
            self.adjust_clock(body["clock"])
        else:
            body["clock"] = self.forward_clock()
        if localize and "utcoffset" in body and "timestamp" in body:
            body["timestamp"] = adjust_timestamp(body["timestamp"], body["utcoffset"])
        body["local_received"] = now()
        return type, body

    def _receive(self, body: Any, message: Any) -> None:
        if self._left is not None:
            if self._left == 0:
                return
            self._left -= 1
        for event in body if isinstance(body, list) else [body]:
            self.process(*self.event_from_message(event))
