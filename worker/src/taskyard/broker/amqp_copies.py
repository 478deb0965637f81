"""Copies on RabbitMQ: dead letters, delays by expiring queues, and counted deliveries, all published under
confirmation before the original is settled.
"""

from __future__ import annotations

import logging
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from taskyard.broker.acks import AckWindow
from taskyard.broker.amqp_copy import COPIED, LASTING, copy_of
from taskyard.broker.delay import SPARE_SECONDS, bucket_for
from taskyard.broker.envelope import COUNT, DEATH, dead_letters, death_of
from taskyard.broker.link import Link

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from kombu import Connection

    from taskyard.broker.delivery import Delivery

logger = logging.getLogger(__name__)

#: What a quorum queue writes on a message; it is the queue's own, and would be believed on a copy.
_COUNTED = frozenset({COUNT, "x-acquired-count"})


class Copies(Link):
    """The part of a link to RabbitMQ that has a copy take a message's place."""

    def __init__(
        self,
        connection: Connection,
        queues: Collection[Any],
        on_delivery: Callable[[Delivery], None],
        dead_letters: Mapping[str, Any] | None,
    ) -> None:
        super().__init__(connection, queues, on_delivery)
        self._dead_letters = dead_letters or {}
        #: Dead-letter queues that exist for sure.
        self._graves: set[str] = set()
        self._window = AckWindow()
        self._publisher: Any = None
        #: Delay queues, and until when they need not be declared again (monotonic seconds).
        self._buckets: dict[str, float] = {}
        #: Given back, the latest first, and to be copied at the end of the turn.
        self._given_back: list[Delivery] = []
        #: Copies on their way: publish sequence -> tag of the original, which is acknowledged on
        #: confirmation, and task id.
        self._unconfirmed: dict[int, tuple[int, Any]] = {}
        #: Those of them that wait for their time.
        self._deferred: set[int] = set()
        #: Those of them that RabbitMQ has sent back, before it confirms them.
        self._homeless: set[int] = set()
        self._sequence = 0
        #: Originals of copies that RabbitMQ refused.
        self._refused_tags: list[int] = []
        #: Originals that are rejected when their copies are confirmed, and those whose turn it is.
        self._to_reject: set[int] = set()
        self._rejected_tags: list[int] = []

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
        count = delivery.headers.get(COUNT) or delivery.headers.get("x-taskyard-deliveries")
        death = death_of(reason, delivery.queue, (count if isinstance(count, int) else 0) + 1)
        if delivery.queue not in self._dead_letters:
            self._to_reject.add(delivery.tag)
        self._replace(delivery, target, {**delivery.headers, DEATH: death}, kept=LASTING)
        logger.warning("a message of queue %r went to %r: %s", delivery.queue, target, reason)

    def _grave(self, queue: str) -> str | None:
        """The dead-letter queue of a queue; None where RabbitMQ knows it."""
        rule = self._dead_letters.get(queue)
        if rule is not None and rule.get("queue") and not rule.get("native"):
            return str(rule["queue"])
        arguments = getattr(self.queues.get(queue), "queue_arguments", None) or {}
        return None if "x-dead-letter-exchange" in arguments else f"{queue}.dead"

    def give_back(self, delivery: Delivery) -> None:
        """Requeued where it stood while that may be counted for nothing, else a copy takes its place.

        A quorum queue counts what is requeued by itself. Of a classic queue the next consumer sees only that
        it was delivered before; where that one counts (worker/intake.py), it ends as a copy anyway.
        """
        counted, queue = delivery.headers.get(COUNT), delivery.queue
        count = counted if isinstance(counted, int) else 0
        # A channel with a quorum queue has no limit of its own, and there a first delivery has no count.
        if count or not (self.adjustable or delivery.redelivered):
            bears = dead_letters(self._dead_letters, queue).bears(count)
        else:
            rule = self._dead_letters.get(queue) or {}
            bears = bool(rule.get("native")) or not rule.get("maxDeliveries")
        if bears:
            self.requeue(delivery)
        else:
            self._given_back.append(delivery)

    def _copy_given_back(self) -> None:
        """In the order of the queue."""
        while self._given_back:
            delivery = self._given_back.pop()
            headers = {name: value for name, value in delivery.headers.items() if name not in _COUNTED}
            self._replace(delivery, delivery.queue, headers)

    def requeue_counted(self, delivery: Delivery, deliveries: int) -> None:
        """Quorum queues count by themselves; elsewhere a copy carries the count."""
        if COUNT in delivery.headers:
            self.requeue(delivery)
        else:
            self._replace(delivery, delivery.queue, {**delivery.headers, "x-taskyard-deliveries": deliveries})

    def defer(self, delivery: Delivery, due: float) -> None:
        """Publish a copy to the bucket of its delay, then acknowledge."""
        bucket, now = bucket_for(delivery.queue, max(due - time(), 1.0)), monotonic()
        # Declared again and again: that restarts its x-expires, so it outlives every message in it.
        if self._buckets.get(bucket.name, 0.0) < now:
            self._copies().queue_declare(
                queue=bucket.name, durable=True, auto_delete=False, arguments=bucket.arguments
            )
            self._buckets[bucket.name] = now + SPARE_SECONDS / 6
        self._replace(delivery, bucket.name, delivery.headers)
        self._deferred.add(self._sequence)

    def _replace(
        self,
        delivery: Delivery,
        routing_key: str,
        headers: dict[str, Any],
        kept: Collection[str] = COPIED,
    ) -> None:
        """Publish a copy; the original is acknowledged when RabbitMQ has confirmed it."""
        channel = self._copies()
        own = {name: value for name, value in headers.items() if name != "x-death"}
        message = copy_of(delivery, channel, own, kept)
        channel.basic_publish(message, exchange="", routing_key=routing_key, mandatory=True)
        self._sequence += 1
        self._unconfirmed[self._sequence] = delivery.tag, headers.get("id")

    def _copies(self) -> Any:
        if self._publisher is None:
            channel = self._publisher = self.connection.channel()
            channel.confirm_select()
            channel.events["basic_ack"].add(self._confirmed)
            channel.events["basic_nack"].add(self._refused)
            channel.events["basic_return"].add(self._returned)
        return self._publisher

    def _returned(self, error: Any, exchange: str, routing_key: str, message: Any) -> None:
        """The queue of a copy has been deleted; the confirmation that follows means nothing then."""
        self._buckets.pop(routing_key, None)
        self._graves.discard(routing_key)
        task_id = (message.properties.get("application_headers") or {}).get("id")
        self._homeless.update(
            sequence for sequence, (_, known) in self._unconfirmed.items() if known == task_id
        )

    def _confirmed(self, sequence: int, multiple: bool) -> None:
        for number, tag in self._answered(sequence, multiple):
            if number in self._homeless:
                self._homeless.discard(number)
                self._give_up_copy(tag)
            elif tag in self._to_reject:
                self._to_reject.discard(tag)
                self._window.forget(tag)
                self._rejected_tags.append(tag)
            else:
                self._window.done(tag)

    def _refused(self, sequence: int, multiple: bool) -> None:
        for number, tag in self._answered(sequence, multiple):
            self._homeless.discard(number)
            self._give_up_copy(tag)

    def _give_up_copy(self, tag: int) -> None:
        logger.warning("RabbitMQ refused a copy of message %s, which goes back to its queue", tag)
        self._to_reject.discard(tag)
        self._window.forget(tag)
        self._refused_tags.append(tag)

    def _answered(self, sequence: int, multiple: bool) -> list[tuple[int, int]]:
        """The copies, with the tags of their originals."""
        if not multiple:
            numbers = [sequence] if sequence in self._unconfirmed else []
        else:
            numbers = [each for each in self._unconfirmed if each <= sequence]
        self._deferred.difference_update(numbers)
        return [(number, self._unconfirmed.pop(number)[0]) for number in numbers]

    def _reject_replaced(self) -> None:
        while self._refused_tags:
            self.channel.basic_reject(self._refused_tags.pop(), requeue=True)
        while self._rejected_tags:
            self.channel.basic_reject(self._rejected_tags.pop(), requeue=False)

    def settled_everything(self) -> bool:
        """Whether all copies are confirmed."""
        return not (self._given_back or self._unconfirmed)

    def copying(self) -> int:
        """Those whose copies RabbitMQ has not confirmed."""
        return len(self._deferred)
