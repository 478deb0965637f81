"""The link to RabbitMQ: windowed acknowledgements, copies published under confirmation, delays by expiring
queues.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from taskyard.broker.acks import AckWindow
from taskyard.broker.amqp_reader import AmqpReader
from taskyard.broker.delay import bucket_for
from taskyard.broker.delayed import DELAYED_DELIVERY, is_delayable, take_part
from taskyard.broker.delivery import Delivery
from taskyard.broker.envelope import DEATH, death_of
from taskyard.broker.link import Link
from taskyard.broker.topology import declare_queue
from taskyard.errors import BrokerDisconnected

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from kombu import Connection

logger = logging.getLogger(__name__)

#: Properties of AMQP basic messages that a copy keeps.
_COPIED = (
    "correlation_id",
    "reply_to",
    "delivery_mode",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
)
#: What a dead letter keeps: it must not expire, and RabbitMQ would refuse another user's name.
_LASTING = tuple(name for name in _COPIED if name not in ("expiration", "user_id"))


class AmqpLink(Link):
    """One connection, one channel to consume, one to publish copies on (opened when first needed)."""

    #: How often within the negotiated interval heartbeats are looked after.
    heartbeat_checks = 4.0

    def __init__(
        self,
        connection: Connection,
        queues: Collection[Any],
        on_delivery: Callable[[Delivery], None],
        limits: dict[str, bool],
        dead_letters: Mapping[str, Any] | None = None,
        delay_queue_type: str = "quorum",
    ) -> None:
        super().__init__(connection, queues, on_delivery)
        self._limits = limits
        self._dead_letters = dead_letters or {}
        self._delay_queue_type = delay_queue_type
        #: Dead-letter queues that exist for sure.
        self._graves: set[str] = set()
        self._window = AckWindow()
        self._publisher: Any = None
        #: Copies on their way: publish sequence -> tag of the original, which is acknowledged on
        #: confirmation.
        self._unconfirmed: dict[int, int] = {}
        self._sequence = 0
        self._heartbeat: Any = None
        self._reader: AmqpReader | None = None
        #: Received and not handed over: callbacks of py-amqp must not call the broker themselves.
        self._arrived: list[Delivery] = []
        #: Originals of copies that RabbitMQ refused.
        self._refused_tags: list[int] = []
        #: Originals that are rejected when their copies are confirmed, and those whose turn it is.
        self._to_reject: set[int] = set()
        self._rejected_tags: list[int] = []

    def open(self) -> None:
        """Also take part in the delays that Celery clients ask of RabbitMQ itself (broker/delayed.py)."""
        super().open()
        quorum = [queue for queue in self.queues.values() if is_delayable(queue)]
        if quorum:
            take_part(self.connection, quorum, self._delay_queue_type)

    def declare_beside(self, queue: Any) -> None:
        """On a channel of its own: RabbitMQ closes one on which something was not found."""
        declare_queue(self.connection, self.connection.channel(), queue).close()

    def register(self, loop: Any) -> None:
        """Read in our own way (amqp_reader.py); send heartbeats well within the negotiated interval."""
        self._reader = AmqpReader(self.connection.connection, loop, self._hand_over)
        interval = self.connection.get_heartbeat_interval()
        if interval:
            self._heartbeat = loop.call_repeatedly(
                max(interval / self.heartbeat_checks, 0.5), self._check_heartbeat
            )

    def _check_heartbeat(self) -> None:
        if self.alive:
            self.connection.heartbeat_check(2)

    @property
    def adjustable(self) -> bool:  # type: ignore[override]
        """Only the limit of a whole channel can change, which quorum queues do not support."""
        return not self._limits.get("per_consumer")

    def set_prefetch(self, count: int) -> None:
        """For the whole channel where RabbitMQ lets us, else for each consumer and once and for all."""
        if count == self.prefetch or (self.prefetch and not self.adjustable):
            return
        self.prefetch = count
        self.channel.basic_qos(0, count, self.adjustable)

    def consume(self) -> None:
        """Begin to receive; learns here whether the queues allow a limit for the channel."""
        try:
            super().consume()
        except self.connection.connection_errors as error:
            if getattr(error, "reply_code", None) in (540, 541) and self.adjustable:
                self._limits["per_consumer"] = True
                raise BrokerDisconnected(
                    "the queues want a prefetch count for each consumer: connecting again"
                ) from error
            raise

    def _subscribe(self, queue: str) -> None:
        self._serial += 1
        tag = self._consumer_tags[queue] = f"taskyard-{self._serial}"
        self.channel.basic_consume(
            queue=queue,
            consumer_tag=tag,
            no_ack=False,
            callback=lambda raw: self._received(queue, raw),
            on_cancel=lambda _tag: self._cancelled(queue),
        )

    def _received(self, queue: str, raw: Any) -> None:
        self._arrived.append(self._delivery(queue, raw))

    def _hand_over(self) -> None:
        while self._arrived:
            arrived, self._arrived = self._arrived, []
            for delivery in arrived:
                self._on_delivery(delivery)

    def cancel(self) -> None:
        """Also hand over what came before RabbitMQ's answer."""
        super().cancel()
        self._hand_over()

    def _cancelled(self, queue: str) -> None:
        raise BrokerDisconnected(
            f"RabbitMQ ended the consumer of queue {queue!r} (deleted, or its node went away)"
        )

    def _delivery(self, queue: str, raw: Any) -> Delivery:
        info, properties = raw.delivery_info, raw.properties
        tag = info["delivery_tag"]
        self._window.received(tag)
        exchange, routing_key = info["exchange"], info["routing_key"]
        if exchange == DELAYED_DELIVERY:
            # Its key says how long the message waited; a retry must not wait that long again.
            exchange, routing_key = "", queue
        return Delivery(
            self,
            tag,
            queue,
            properties.get("application_headers") or {},
            properties,
            raw.body,
            properties.get("content_type"),
            properties.get("content_encoding"),
            exchange,
            routing_key,
            info["redelivered"],
        )

    def ack(self, delivery: Delivery) -> None:
        """Remembered until the end of the turn."""
        self._window.done(delivery.tag)

    def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Publish a copy that says why to the dead-letter queue, then settle the original.

        Where a rule names the dead-letter queue it is acknowledged. A queue that was declared here with a
        dead-letter exchange keeps RabbitMQ's way: rejected, without our reason. Of any other queue it is not
        known whether RabbitMQ has one for it (by a policy, or from whoever declared it): the copy makes sure
        that nothing is lost, and the rejection that such an exchange gets what it is there for.
        """
        target = self._grave(delivery.queue)
        if target is None:
            self._window.forget(delivery.tag)
            self.channel.basic_reject(delivery.tag, requeue=False)
            return
        if target not in self._graves:
            self.declare_beside(target)
            self._graves.add(target)
        count = delivery.headers.get("x-delivery-count") or delivery.headers.get("x-taskyard-deliveries")
        death = death_of(reason, delivery.queue, (count if isinstance(count, int) else 0) + 1)
        if delivery.queue not in self._dead_letters:
            self._to_reject.add(delivery.tag)
        self._replace(delivery, target, {**delivery.headers, DEATH: death}, copied=_LASTING)
        logger.warning("a message of queue %r went to %r: %s", delivery.queue, target, reason)

    def _grave(self, queue: str) -> str | None:
        """The dead-letter queue of a queue; None where RabbitMQ knows it."""
        rule = self._dead_letters.get(queue)
        if rule is not None and rule.get("queue") and not rule.get("native"):
            return str(rule["queue"])
        arguments = getattr(self.queues.get(queue), "queue_arguments", None) or {}
        return None if "x-dead-letter-exchange" in arguments else f"{queue}.dead"

    def requeue(self, delivery: Delivery) -> None:
        """Put back where it was."""
        self._window.forget(delivery.tag)
        self.channel.basic_reject(delivery.tag, requeue=True)

    def requeue_counted(self, delivery: Delivery, deliveries: int) -> None:
        """Quorum queues count by themselves; elsewhere a copy carries the count."""
        if "x-delivery-count" in delivery.headers:
            self.requeue(delivery)
        else:
            self._replace(delivery, delivery.queue, {**delivery.headers, "x-taskyard-deliveries": deliveries})

    def defer(self, delivery: Delivery, due: float) -> None:
        """Publish a copy to the bucket of its delay, then acknowledge."""
        from time import time

        bucket = bucket_for(delivery.queue, max(due - time(), 1.0))
        # Declared on each publish: that restarts its x-expires, so it outlives every message in it.
        self._copies().queue_declare(
            queue=bucket.name, durable=True, auto_delete=False, arguments=bucket.arguments
        )
        self._replace(delivery, bucket.name, delivery.headers)

    def _replace(
        self,
        delivery: Delivery,
        routing_key: str,
        headers: dict[str, Any],
        copied: Collection[str] = _COPIED,
    ) -> None:
        """Publish a copy; the original is acknowledged when RabbitMQ has confirmed it."""
        channel = self._copies()
        properties = {name: delivery.properties[name] for name in copied if name in delivery.properties}
        message = channel.prepare_message(
            delivery.body,
            priority=delivery.properties.get("priority"),
            content_type=delivery.content_type,
            content_encoding=delivery.content_encoding,
            headers={name: value for name, value in headers.items() if name != "x-death"},
            properties=properties,
        )
        channel.basic_publish(message, exchange="", routing_key=routing_key)
        self._sequence += 1
        self._unconfirmed[self._sequence] = delivery.tag

    def _copies(self) -> Any:
        if self._publisher is None:
            channel = self._publisher = self.connection.channel()
            channel.confirm_select()
            channel.events["basic_ack"].add(self._confirmed)
            channel.events["basic_nack"].add(self._refused)
        return self._publisher

    def _confirmed(self, sequence: int, multiple: bool) -> None:
        for tag in self._answered(sequence, multiple):
            if tag in self._to_reject:
                self._to_reject.discard(tag)
                self._window.forget(tag)
                self._rejected_tags.append(tag)
            else:
                self._window.done(tag)

    def _refused(self, sequence: int, multiple: bool) -> None:
        for tag in self._answered(sequence, multiple):
            logger.warning("RabbitMQ refused a copy of message %s, which goes back to its queue", tag)
            self._to_reject.discard(tag)
            self._window.forget(tag)
            self._refused_tags.append(tag)

    def _answered(self, sequence: int, multiple: bool) -> list[int]:
        if not multiple:
            tag = self._unconfirmed.pop(sequence, None)
            return [] if tag is None else [tag]
        return [self._unconfirmed.pop(each) for each in list(self._unconfirmed) if each <= sequence]

    def flush_turn(self) -> None:
        """Send the acknowledgements of this turn."""
        if self._arrived:
            self._hand_over()
        while self._refused_tags:
            self.channel.basic_reject(self._refused_tags.pop(), requeue=True)
        while self._rejected_tags:
            self.channel.basic_reject(self._rejected_tags.pop(), requeue=False)
        self._window.flush(self.channel.basic_ack)
        if self._reader is not None:
            self._reader.look_again()

    flush = flush_turn

    def settled_everything(self) -> bool:
        """Whether all copies are confirmed."""
        return not self._unconfirmed

    def confirm(self) -> None:
        """A synchronous call on the channel: RabbitMQ handles a channel's frames in order."""
        while self._unconfirmed:
            self.connection.drain_events(timeout=10)
        self.flush()
        self.channel.basic_qos(0, self.prefetch, self.adjustable)

    def close(self) -> None:
        """End the connection in good order."""
        self._stop_heartbeat()
        if self._reader is not None:
            self._reader.stop()
        super().close()

    def abandon(self) -> None:
        """Drop the connection."""
        self._stop_heartbeat()
        if self._reader is not None:
            self._reader.stop()
        super().abandon()

    def _stop_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            self._heartbeat = None
