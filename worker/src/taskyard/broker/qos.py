"""What a channel holds: messages handed to consumers and not yet settled."""

from typing import Any

from kombu.transport import virtual

from taskyard.broker.held import Held

__all__ = ["Held", "QoS"]


class QoS(virtual.QoS):  # type: ignore[misc]
    """kombu's interface over the channel's own books.

    ``_delivered`` maps tags to ``Held``. The prefetch count is exact: what waits to be handed over counts.
    """

    def can_consume(self) -> bool:
        """Whether one more message may be taken."""
        return not self.prefetch_count or self.channel.held < self.prefetch_count

    def can_consume_max_estimate(self) -> int | None:
        """How many more messages may be taken; None means any number."""
        if not self.prefetch_count:
            return None
        room: int = self.prefetch_count - self.channel.held
        return max(0, room)

    def append(self, message: Any, delivery_tag: str) -> None:
        """Hold a message that came without a lease."""
        self._delivered.setdefault(delivery_tag, Held(None, b""))

    def get(self, delivery_tag: str) -> Held:
        """What is held under a tag."""
        held: Held = self._delivered[delivery_tag]
        return held

    def ack(self, delivery_tag: str) -> None:
        """Settle: the message is done. Sent at the end of the loop turn or by ``flush``."""
        held = self._delivered.pop(delivery_tag, None)
        if held is None or held.queue is not None:
            self.channel.settle_ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Settle: back to the head of the queue, or dropped."""
        held = self._delivered.get(delivery_tag)
        if requeue and held is not None and held.queue is not None:
            del self._delivered[delivery_tag]
            self.channel.give_back([(delivery_tag, held)])
        else:
            self.ack(delivery_tag)

    def restore_unacked(self) -> list[Any]:
        """Give everything back to the heads of the queues, in the order it was taken."""
        held = [(tag, one) for tag, one in self._delivered.items() if one.queue is not None]
        self._delivered.clear()
        if held:
            self.channel.give_back(held)
        return []

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give everything back when the channel or the process ends."""
        self._on_collect.cancel()
        state = self._delivered
        if state.restored or not self.restore_at_shutdown or not self.channel.do_restore:
            return
        state.restored = True
        self.channel.give_back_all()

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the lease looks after lost messages."""
