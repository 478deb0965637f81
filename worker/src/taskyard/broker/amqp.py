"""The link to RabbitMQ: how its messages are received and acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amqp.exceptions import RecoverableConnectionError

from taskyard.broker.amqp_copies import Copies
from taskyard.broker.amqp_frames import ack_frame, read_arguments
from taskyard.broker.amqp_reader import AmqpReader
from taskyard.broker.delayed import DELAYED_DELIVERY, is_delayable, take_part
from taskyard.broker.delivery import Delivery
from taskyard.broker.topology import declare_queue
from taskyard.errors import BrokerDisconnected

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from kombu import Connection


class AmqpLink(Copies):
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
        super().__init__(connection, queues, on_delivery, dead_letters)
        self._limits = limits
        self._delay_queue_type = delay_queue_type
        #: Queues by consumer tag, as the wire has it.
        self._subscribed: dict[bytes, str] = {}
        self._heartbeat: Any = None
        self._reader: AmqpReader | None = None
        #: Received and not handed over: callbacks of py-amqp must not call the broker themselves.
        self._arrived: list[Delivery] = []

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
        self._reader = AmqpReader(self.connection.connection, loop, self._hand_over, self._delivered)
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
        self._subscribed[tag.encode()] = queue
        self.channel.basic_consume(
            queue=queue,
            consumer_tag=tag,
            no_ack=False,
            callback=lambda raw: self._received(queue, raw),
            on_cancel=lambda _tag: self._cancelled(queue),
        )

    def _received(self, queue: str, raw: Any) -> None:
        """By way of py-amqp: in the midst of a synchronous call, or because it is unusual."""
        self._arrived.append(self._delivery(queue, raw))

    def _delivered(self, number: int, arguments: bytes, properties: dict[str, Any], body: bytes) -> bool:
        """Straight from the wire."""
        try:
            consumer, tag, redelivered, place = read_arguments(arguments)
            queue = self._subscribed[consumer]
        except (LookupError, UnicodeDecodeError):
            return False
        if number != self.channel.channel_id:
            return False
        self._arrived.append(self._arrival(queue, tag, properties, body, place, redelivered))
        return True

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
        info = raw.delivery_info
        place = info["exchange"], info["routing_key"]
        tag, redelivered = info["delivery_tag"], info["redelivered"]
        return self._arrival(queue, tag, raw.properties, raw.body, place, redelivered)

    def _arrival(
        self,
        queue: str,
        tag: int,
        properties: dict[str, Any],
        body: bytes | str,
        place: tuple[str, str],
        redelivered: bool,
    ) -> Delivery:
        self._window.received(tag)
        exchange, routing_key = place
        if exchange == DELAYED_DELIVERY:
            # Its key says how long the message waited; a retry must not wait that long again.
            exchange, routing_key = "", queue
        return Delivery(
            self,
            tag,
            queue,
            properties.get("application_headers") or {},
            properties,
            body,
            properties.get("content_type"),
            properties.get("content_encoding"),
            exchange,
            routing_key,
            redelivered,
        )

    def ack(self, delivery: Delivery) -> None:
        """Remembered until the end of the turn."""
        self._window.done(delivery.tag)

    def requeue(self, delivery: Delivery) -> None:
        """Put back where it was."""
        self._window.forget(delivery.tag)
        self.channel.basic_reject(delivery.tag, requeue=True)

    def flush_turn(self) -> None:
        """Send the acknowledgements of this turn."""
        if self._arrived:
            self._hand_over()
        self._copy_given_back()
        self._reject_replaced()
        self._acknowledge()
        if self._reader is not None:
            self._reader.look_again()

    flush = flush_turn

    def _acknowledge(self) -> None:
        """All in one write: py-amqp would make one of each."""
        frames: list[bytes] = []
        number = self.channel.channel_id
        if number is None:
            raise RecoverableConnectionError("the channel is closed")
        self._window.flush(lambda tag, multiple: frames.append(ack_frame(number, tag, multiple)))
        if frames:
            connection = self.connection.connection
            connection.transport.write(b"".join(frames))
            connection.bytes_sent += len(frames)

    def confirm(self) -> None:
        """A synchronous call on the channel: RabbitMQ handles a channel's frames in order."""
        self._copy_given_back()
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
