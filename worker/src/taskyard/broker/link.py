"""Link: one open connection to the broker as the worker uses it, from its opening to its loss.

A link is never repaired: when it is lost, the worker drops it with all channel state and opens another one.
This module holds what all brokers share and the link for kombu's virtual transports (Redis, SQLite);
broker/amqp.py has RabbitMQ's.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from time import time
from typing import TYPE_CHECKING, Any

from taskyard.broker.connection import connect_as_configured
from taskyard.broker.delivery import Delivery
from taskyard.broker.topology import declare_queue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kombu import Connection

    from taskyard.settings import Settings

OnDelivery = Callable[[Delivery], None]

#: Longest wait for an answer of an AMQP broker, seconds.
_AMQP_SILENCE = 8.0


class Link(ABC):
    """What the worker asks of a broker."""

    #: Deliveries stay ours over a lost connection (leases in the broker), so a later link may settle them.
    keeps_deliveries = False
    #: The prefetch count can change while consuming.
    adjustable = True

    def __init__(
        self, connection: Connection | None, queues: Collection[Any], on_delivery: OnDelivery
    ) -> None:
        if connection is not None:
            self.connection = connection
        #: What is consumed, by name: kombu queues, or names of plain ones.
        self.queues: dict[str, Any] = {name_of(queue): queue for queue in queues}
        self.alive = True
        self.consuming = False
        self.prefetch = 0
        self._on_delivery = on_delivery
        self._consumer_tags: dict[str, str] = {}
        self._serial = 0
        self.channel: Any = None

    def open(self) -> None:
        """Connect, declare the queues; consumes nothing yet."""
        self.connection.connect()
        self.channel = self.connection.channel()
        for queue in self.queues.values():
            self.declare(queue)

    def declare(self, queue: Any) -> None:
        """Make sure that a queue exists."""
        self.channel = declare_queue(self.connection, self.channel, queue)

    def register(self, loop: Any) -> None:
        """Let the loop drive the connection."""
        self.connection.transport.register_with_event_loop(self.connection.connection, loop)

    @property
    def errors(self) -> tuple[type[BaseException], ...]:
        """What this broker's client raises when connection or channel are lost."""
        return (*self.connection.connection_errors, *self.connection.channel_errors)

    def set_prefetch(self, count: int) -> None:
        """Let the broker hand out so many unsettled messages at most."""
        if count != self.prefetch:
            self.prefetch = count
            self.channel.basic_qos(0, count, False)

    def consume(self) -> None:
        """Begin to receive messages."""
        if not self.consuming:
            self.consuming = True
            for queue in self.queues:
                self._subscribe(queue)

    def _subscribe(self, queue: str) -> None:
        self._serial += 1
        tag = self._consumer_tags[queue] = f"taskyard-{self._serial}"
        self.channel.basic_consume(
            queue=queue, consumer_tag=tag, no_ack=False, callback=lambda raw: self._received(queue, raw)
        )

    def add_queue(self, queue: Any) -> None:
        """Consume one queue more (a kombu Queue, or the name of a plain one), from now on."""
        name = name_of(queue)
        if name in self.queues:
            return
        self.declare_beside(queue)
        self.queues[name] = queue
        if self.consuming:
            self._subscribe(name)

    def declare_beside(self, queue: Any) -> None:
        """Make sure that a queue exists, while others are consumed."""
        declare_queue(self.connection, self.channel, queue)

    def drop_queue(self, name: str) -> None:
        """Consume a queue no more; messages that were delivered stay ours."""
        self.queues.pop(name, None)
        tag = self._consumer_tags.pop(name, None)
        if tag is not None:
            self.channel.basic_cancel(tag)

    def cancel(self) -> None:
        """Stop receiving; when this returns the broker has confirmed that nothing more comes."""
        if self.consuming:
            self.consuming = False
            tags, self._consumer_tags = self._consumer_tags, {}
            for tag in tags.values():
                self.channel.basic_cancel(tag)

    def _received(self, queue: str, raw: Any) -> None:
        self._on_delivery(self._delivery(queue, raw))

    @abstractmethod
    def _delivery(self, queue: str, raw: Any) -> Delivery:
        """The transport's own message object as a Delivery."""

    def ready_to_settle(self) -> None:  # noqa: B027  most brokers need nothing
        """Make settling possible before (or without) consuming, for deliveries kept from an earlier link."""

    def ack_again(self, tags: Collection[Any]) -> None:  # noqa: B027  only where deliveries are kept
        """Acknowledge tags that an earlier link had acknowledged, where the broker did not see it."""

    @abstractmethod
    def ack(self, delivery: Delivery) -> None:
        """Acknowledge, by the end of this loop turn."""

    @abstractmethod
    def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Move to the dead letters of its queue."""

    def requeue(self, delivery: Delivery) -> None:
        """Put back where it was."""
        self.channel.basic_reject(delivery.tag, requeue=True)

    @abstractmethod
    def requeue_counted(self, delivery: Delivery, deliveries: int) -> None:
        """Put back as a message that has so many deliveries behind it."""

    @abstractmethod
    def defer(self, delivery: Delivery, due: float) -> None:
        """Keep in the broker until `due` (unix seconds)."""

    def flush_turn(self) -> None:  # noqa: B027  the transports of our own flush by themselves
        """The loop's turn ends; without waiting for the broker."""

    def flush(self) -> None:  # noqa: B027
        """Send everything that is buffered."""

    def settled_everything(self) -> bool:
        """Whether nothing waits for an answer of the broker any more."""
        return True

    def confirm(self) -> None:
        """Return when the broker has handled all that was sent before."""
        self.flush()

    def close(self) -> None:
        """End the connection in good order."""
        self.alive = False
        with contextlib.suppress(Exception):
            self.connection.close()

    def abandon(self) -> None:
        """Drop a lost connection without a word to the broker."""
        self.alive = False
        with contextlib.suppress(Exception):
            self.connection.collect(socket_timeout=0.1)


class VirtualLink(Link):
    """A link by our own transports for Redis and SQLite, which lease what they hand out to this worker's
    id.
    """

    keeps_deliveries = True
    _loop: Any = None

    def open(self) -> None:
        """Also have the channel leave compressed bodies alone: they are unpacked where they are decoded."""
        super().open()
        from taskyard.broker.raw_message import RawMessage

        self.channel.Message = RawMessage

    def _delivery(self, queue: str, raw: Any) -> Delivery:
        info = raw.delivery_info or {}
        return Delivery(
            self,
            raw.delivery_tag,
            queue,
            raw.headers or {},
            raw.properties,
            raw.body or b"",
            raw.content_type,
            raw.content_encoding,
            info.get("exchange") or "",
            info.get("routing_key") or queue,
            bool(info.get("redelivered")),
        )

    def ready_to_settle(self) -> None:
        """Take over the lease of the earlier link now; consuming does the same."""
        self.channel.ready_to_settle()

    def ack_again(self, tags: Collection[Any]) -> None:
        """Those that were still leased when this link took over."""
        for tag in getattr(self.connection.transport, "adopted", {}).keys() & tags:
            self.channel.basic_ack(tag)

    def ack(self, delivery: Delivery) -> None:
        """Buffered by the transport until the end of the turn."""
        self.channel.basic_ack(delivery.tag)

    def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """In one step with the acknowledgement."""
        self.channel.dead_letter(delivery.tag, reason)

    def requeue_counted(self, delivery: Delivery, deliveries: int) -> None:
        """A copy with the count, then the acknowledgement: in between a crash doubles, it never loses."""
        message = self._copy(delivery, {**delivery.headers, "x-delivery-count": deliveries})
        self.channel.basic_publish(message, exchange="", routing_key=delivery.queue)
        self.channel.basic_ack(delivery.tag)

    def _copy(self, delivery: Delivery, headers: dict[str, Any]) -> Any:
        properties = {key: value for key, value in delivery.properties.items() if key != "delivery_tag"}
        properties["delivery_info"] = {"exchange": delivery.exchange, "routing_key": delivery.routing_key}
        return self.channel.prepare_message(
            delivery.body,
            priority=delivery.properties.get("priority"),
            content_type=delivery.content_type,
            content_encoding=delivery.content_encoding,
            headers=headers,
            properties=properties,
        )

    def defer(self, delivery: Delivery, due: float) -> None:
        """In one step: to the schedule, and released.  A broadcast is in no queue of the broker: it waits
        here.
        """
        if delivery.queue not in getattr(self.channel, "_fanout_queues", ()):
            self.channel.defer(delivery.tag, due)
            return
        self.channel.basic_ack(delivery.tag)
        self._loop.call_later(due - time(), self._deliver_again, delivery)

    def _deliver_again(self, delivery: Delivery) -> None:
        if self.alive and self.consuming:
            self.channel.qos.append(None, delivery.tag)
            delivery.settled = False
            self._on_delivery(delivery)

    def register(self, loop: Any) -> None:
        """Let the loop drive the connection."""
        self._loop = loop
        super().register(loop)

    def flush(self) -> None:
        """Send the buffered settlements."""
        self.channel.flush()

    def abandon(self) -> None:
        """Drop the connection; what is held stays leased to this worker's id."""
        with contextlib.suppress(Exception):
            self.channel.do_restore = False
        super().abandon()


def name_of(queue: Any) -> str:
    """The name of a kombu Queue, or the name itself."""
    return queue if isinstance(queue, str) else str(queue.name)


def open_link(
    settings: Settings,
    queues: Collection[Any],
    on_delivery: OnDelivery,
    *,
    worker_id: str,
    dead_letters: Mapping[str, Any],
    still_running: Callable[[], Collection[Any]],
    limits: dict[str, bool],
    url: str | None = None,
) -> Link:
    """An open link to the app's broker (or to the one of `url`); the client's own exceptions when it cannot
    be reached.

    `still_running` names the tags of kept deliveries that are being worked on; `limits` remembers what
    earlier links found the broker unable to do.
    """
    own_options = {"dead_letters": dict(dead_letters), "worker_id": worker_id, "still_running": still_running}
    url = settings.effective_read_url() if url is None else url
    link = _plain_link(settings, url, queues, on_delivery, own_options) or _kombu_link(
        settings, url, queues, on_delivery, own_options, limits
    )
    try:
        link.open()
    except BaseException:
        link.abandon()
        raise
    return link


def _plain_link(
    settings: Settings, url: str, queues: Collection[Any], on_delivery: OnDelivery, options: dict[str, Any]
) -> Link | None:
    """The link that needs no kombu, where it will do."""
    if not url.startswith("redis://"):
        return None
    from taskyard.broker.redis.link import plain_link

    return plain_link(settings, url, queues, on_delivery, options)


def _kombu_link(
    settings: Settings,
    url: str,
    queues: Collection[Any],
    on_delivery: OnDelivery,
    own_options: dict[str, Any],
    limits: dict[str, bool],
) -> Link:
    connection = connect_as_configured(
        settings, url, heartbeat=settings.broker_heartbeat or 0.0, transport_options=own_options
    )
    if connection.transport.driver_type == "amqp":
        from taskyard.broker.amqp import AmqpLink

        # py-amqp takes every transport option as an argument of its own.
        for name in own_options:
            connection.transport_options.pop(name, None)
        # A broker that says nothing must not stop the loop for ever (seconds).
        connection.transport_options.setdefault("read_timeout", _AMQP_SILENCE)
        connection.transport_options.setdefault("write_timeout", _AMQP_SILENCE)
        delays = settings.worker_detect_quorum_queues and settings.broker_native_delayed_delivery_queue_type
        dead_letters = own_options["dead_letters"]
        link = AmqpLink(connection, queues, on_delivery, limits, dead_letters, delays or "")
        link.heartbeat_checks = max(settings.broker_heartbeat_checkrate, 2.0)
        return link
    if connection.transport.driver_type == "sqs":
        from taskyard.broker.sqs import SqsLink

        return SqsLink(
            connection, queues, on_delivery, own_options["dead_letters"], own_options["still_running"]
        )
    if type(connection.transport).__module__.startswith("taskyard."):
        return VirtualLink(connection, queues, on_delivery)
    from taskyard.broker.polled import PolledLink

    # Somebody else's transport may know no options of ours.
    for name in own_options:
        connection.transport_options.pop(name, None)
    return PolledLink(connection, queues, on_delivery, own_options["dead_letters"])
