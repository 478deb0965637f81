"""Link: one open connection to the broker as the worker uses it, from its opening to its loss.

A link is never repaired: when it is lost, the worker drops it with all channel state and opens another one.
This module holds what all brokers share; broker/redis/link.py, amqp.py, sqs.py, virtual_link.py and polled.py
have theirs, and linking.py chooses.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from taskyard.broker.delivery import Delivery
from taskyard.broker.topology import declare_queue

if TYPE_CHECKING:
    from kombu import Connection

    from taskyard.broker.redis.joint import JointCalls
    from taskyard.broker.redis.place import Place


OnDelivery = Callable[[Delivery], None]


class Link(ABC):
    """What the worker asks of a broker."""

    #: Deliveries stay ours over a lost connection (leases in the broker), so a later link may settle them.
    keeps_deliveries = False
    #: The prefetch count can change while consuming.
    adjustable = True
    #: The Redis at the other end, where the connection is our own.
    place: Place | None = None

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

    def joint_calls(self, url: str, work: bytes) -> JointCalls | None:
        """Calls that run a script on the Redis of a URL and acknowledge, both in one; None where that cannot
        be: it is another server than the broker, or the connection is not the link's own.
        """
        return None

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

    def give_back(self, delivery: Delivery) -> None:
        """Put back as if it had not been delivered; the same where being put back is not counted."""
        self.requeue(delivery)

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

    def copying(self) -> int:
        """How many deferred messages are held until the broker has written the copies in their place."""
        return 0

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


def name_of(queue: Any) -> str:
    """The name of a kombu Queue, or the name itself."""
    return queue if isinstance(queue, str) else str(queue.name)
