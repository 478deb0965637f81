"""The link to Amazon SQS: messages are received by a thread for each queue, settled and renewed by another.

On the wire kombu's SQS transport (base64 of its JSON envelope), whose channel also resolves names, queues and
clients here. A message in our hands is invisible to others for ``lease_seconds`` (60) at a time and renewed
until it is settled, so a crash is noticed soon and a long task is delivered once. SQS delays a message for at
most 900 seconds: a later one takes several hops.
"""

from __future__ import annotations

import base64
import logging
import threading
import uuid
from collections.abc import Callable, Collection, Mapping
from time import time
from typing import TYPE_CHECKING, Any, Final

from taskyard.broker.delivery import Delivery
from taskyard.broker.envelope import (
    COUNT,
    UnreadableMessageError,
    dead,
    dead_letters,
    dumps,
    wrapped,
)
from taskyard.broker.link import Link
from taskyard.broker.sqs_messages import envelope_of, read_message
from taskyard.broker.sqs_threads import Keeper, Receiver, Tag

if TYPE_CHECKING:
    from kombu import Connection

logger = logging.getLogger(__name__)

LEASE_SECONDS: Final = 60
#: SQS delays no message for longer (seconds).
LONGEST_DELAY: Final = 900
#: SQS keeps no message invisible for longer (seconds).
LONGEST_INVISIBLE: Final = 43_200


class SqsLink(Link):
    """HTTP has no connection that could be lost: what is held stays ours, and any later link settles it."""

    keeps_deliveries = True

    def __init__(
        self,
        connection: Connection,
        queues: Collection[Any],
        on_delivery: Callable[[Delivery], None],
        dead_letters: Mapping[str, Any],
        still_running: Callable[[], Collection[Any]],
    ) -> None:
        super().__init__(connection, queues, on_delivery)
        options = connection.transport_options
        self.lease_seconds = int(options.get("lease_seconds") or LEASE_SECONDS)
        self.wait_seconds = min(int(options.get("wait_time_seconds", 10)), 20)
        self._rules = dead_letters
        self._still_running = still_running
        self._loop: Any = None
        self._receivers: dict[str, Receiver] = {}
        self._leaving: list[Receiver] = []
        self._acks: list[Tag] = []
        self._keeper = Keeper(self)
        self._urls: dict[str, str] = {}
        self._guard = threading.Lock()
        self.held: set[Tag] = set()

    # -- what the threads need
    def url(self, queue: str) -> str:
        """The URL of a queue, which is made if it is missing."""
        with self._guard:
            if queue not in self._urls:
                self._urls[queue] = self.channel._new_queue(queue)
            return self._urls[queue]

    def client(self, queue: str) -> Any:
        """The boto3 client for a queue; its methods may be called from any thread."""
        with self._guard:
            return self.channel.sqs(queue=self.channel.canonical_queue_name(queue))

    @property
    def room(self) -> int:
        """How many more messages may be taken."""
        return self.prefetch - len(self.held) if self.prefetch else 10

    def failed(self, error: BaseException) -> None:
        """A thread cannot go on: the loop's thread is to raise the error."""
        if self.alive and self._loop is not None:
            self._loop.call_soon_threadsafe(self._raise, error)

    def _raise(self, error: BaseException) -> None:
        if self.alive:
            raise error

    def arrived(self, receiver: Receiver, messages: list[dict[str, Any]]) -> None:
        """Messages came; they are ours until settled."""
        self._loop.call_soon_threadsafe(self._take, receiver, messages)

    def settled(self, tag: Tag) -> None:
        """A message is not ours any more: there is room for another."""
        self.held.discard(tag)
        for receiver in list(self._receivers.values()):
            receiver.look()

    # -- Link
    def open(self) -> None:
        """Also renew at once what an earlier link has left with us."""
        super().open()
        for queue in self.queues:
            self.url(queue)
        self.held.update(tag for tag in self._still_running() if isinstance(tag, Tag))
        self._keeper.start()

    def register(self, loop: Any) -> None:
        """Threads hand over to this loop."""
        self._loop = loop

    def set_prefetch(self, count: int) -> None:
        """Hold so many messages at most, and a few more where several queues are asked at once."""
        self.prefetch = count
        for receiver in self._receivers.values():
            receiver.look()

    def _subscribe(self, queue: str) -> None:
        receiver = self._receivers[queue] = Receiver(self, queue)
        receiver.start()

    def cancel(self) -> None:
        """Stop receiving; what a call in flight still brings is given back by its thread."""
        self.consuming = False
        for queue in list(self._receivers):
            self._stop(queue)

    def drop_queue(self, name: str) -> None:
        """Consume a queue no more."""
        self.queues.pop(name, None)
        self._stop(name)

    def _stop(self, queue: str) -> None:
        receiver = self._receivers.pop(queue, None)
        if receiver is not None:
            receiver.stop()
            self._leaving = [each for each in self._leaving if each.is_alive()] + [receiver]

    def _take(self, receiver: Receiver, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            if not self.alive or receiver.stopped:
                tag = Tag(receiver.queue, message["ReceiptHandle"])
                self.held.discard(tag)
                self._keeper.release(tag)
            else:
                self._received(receiver.queue, message)
        receiver.look()

    def _received(self, queue: str, raw: Any) -> None:
        try:
            delivery = self._delivery(queue, raw)
        except UnreadableMessageError as error:
            tag = Tag(queue, raw["ReceiptHandle"])
            envelope = wrapped(str(raw.get("Body")).encode(), str(raw.get("MessageId")))
            self._bury(tag, envelope, f"unreadable message: {error}", 1)
            return
        self._on_delivery(delivery)

    def _delivery(self, queue: str, raw: Any) -> Delivery:
        return read_message(self, queue, raw)

    # -- settling
    def ack(self, delivery: Delivery) -> None:
        """Deleted with others, by the end of the turn."""
        self._acks.append(delivery.tag)

    def ack_again(self, tags: Collection[Any]) -> None:
        """Deleting twice does no harm."""
        self._acks += [tag for tag in tags if isinstance(tag, Tag)]

    def requeue(self, delivery: Delivery) -> None:
        """Visible again."""
        self.settled(delivery.tag)
        self._keeper.release(delivery.tag)

    def give_back(self, delivery: Delivery) -> None:
        """Visible again, which SQS counts; so a copy the second time, but FIFO queues keep their order."""
        if delivery.queue.endswith(".fifo") or not delivery.headers.get(COUNT):
            self.requeue(delivery)
        else:
            self._replace(delivery.tag, delivery.queue, envelope_of(delivery))

    def requeue_counted(self, delivery: Delivery, deliveries: int) -> None:
        """A copy with the count, then the original is deleted."""
        envelope = envelope_of(delivery)
        envelope["headers"] = {**delivery.headers, COUNT: deliveries}
        self._replace(delivery.tag, delivery.queue, envelope)

    def defer(self, delivery: Delivery, due: float) -> None:
        """A copy that SQS delays; FIFO queues cannot, there the message stays invisible."""
        delay = max(1, int(due - time()))
        if delivery.queue.endswith(".fifo"):
            self.held.discard(delivery.tag)
            self._keeper.release(delivery.tag, min(delay, LONGEST_INVISIBLE))
        else:
            self._replace(delivery.tag, delivery.queue, envelope_of(delivery), min(delay, LONGEST_DELAY))

    def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """A copy with the reason in the dead-letter queue, then the original is deleted."""
        self._bury(delivery.tag, envelope_of(delivery), reason, (delivery.headers.get(COUNT) or 0) + 1)

    def _bury(self, tag: Tag, envelope: dict[str, Any], reason: str, deliveries: int) -> None:
        target = dead_letters(self._rules, tag.queue).queue
        if tag.queue.endswith(".fifo") and not target.endswith(".fifo"):
            target = target.replace(".fifo", "") + ".fifo"
        dead(envelope, reason=reason, queue=tag.queue, target=target)
        envelope["headers"].pop(COUNT, None)
        known = self.channel.predefined_queues
        if known and target not in known:
            logger.error(
                "a message of queue %r is rejected (%s) and predefined_queues has no %r: it is left to the "
                "queue's redrive policy, or deleted without one",
                tag.queue,
                reason,
                target,
            )
            self.held.discard(tag)
            self._keeper.reject(tag)
            return
        self._replace(tag, target, envelope)
        logger.warning("a message of queue %r went to %r: %s", tag.queue, target, reason)

    def _replace(self, tag: Tag, target: str, envelope: dict[str, Any], delay: int = 0) -> None:
        arguments: dict[str, Any] = {"MessageBody": base64.b64encode(dumps(envelope)).decode()}
        if target.endswith(".fifo"):
            arguments["MessageGroupId"] = tag.group or "default"
            arguments["MessageDeduplicationId"] = uuid.uuid4().hex
        elif delay:
            arguments["DelaySeconds"] = delay
        self._keeper.replace(tag, target, arguments)

    def flush_turn(self) -> None:
        """Hand the acknowledgements of this turn to their thread."""
        if self._acks:
            acks, self._acks = self._acks, []
            self.held.difference_update(acks)
            self._keeper.delete(acks)
            for receiver in self._receivers.values():
                receiver.look()

    flush = flush_turn

    def settled_everything(self) -> bool:
        """Whether SQS knows all our decisions."""
        return not self._acks and self._keeper.idle

    def confirm(self) -> None:
        """Wait for SQS to answer."""
        self.flush()
        self._keeper.wait(10)

    def close(self) -> None:
        """Wait for calls in flight: what they bring must be given back."""
        self.cancel()
        self.flush()
        for receiver in self._leaving:
            receiver.join(self.wait_seconds + 5)
        self._keeper.wait(10)
        self._keeper.stop()
        super().close()

    def abandon(self) -> None:
        """Stop; what is held is renewed by the next link."""
        self.alive = False
        for queue in list(self._receivers):
            self._stop(queue)
        self._keeper.stop()
        super().abandon()
