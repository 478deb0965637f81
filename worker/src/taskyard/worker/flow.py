"""Flow: how many messages the broker may hand out, from free slots and from how short the tasks are."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskyard.broker.link import Link
    from taskyard.pool.pace import Pace
    from taskyard.pool.pool import Pool
    from taskyard.worker.autoscale import Autoscaler
    from taskyard.worker.consumer import Consumer

#: Ready messages are given back when nothing has begun or ended, and all tasks have run, for this long,
#: seconds.
_SURPLUS_SECONDS = 0.5
#: Room for messages whose copies the broker writes: at most so many, and so long after the last one, seconds.
_MOST_COPIES, _COPIES_SECONDS = 128, 1.0
#: No such room for so long, seconds, after what came in had to be given back: it would come in again at once.
_NO_ROOM_SECONDS = 10.0


class Flow:
    """The prefetch count: one message for each slot (times the multiplier); more only while all tasks are
    short.
    """

    def __init__(self, multiplier: int, pace: Pace, consumer: Consumer, pool: Pool) -> None:
        self._multiplier = multiplier
        self._pace = pace
        self._consumer = consumer
        self._pool = pool
        #: Messages more (or less) on a command of remote control.
        self.extra = 0
        #: Where the pool follows the load.
        self.autoscaler: Autoscaler | None = None
        #: For messages that have left and whose copies are not confirmed, and when there was one last.
        self._copies, self._copied_at = 0, 0.0
        self._no_room_until = 0.0

    @property
    def _base(self) -> int:
        base = self._pool.slots * self._multiplier
        if self.autoscaler is not None:
            base += self.autoscaler.extra_prefetch
        return base

    def prefetch(self) -> int:
        """The count that fits now."""
        slots, target = self._pool.slots, self._base
        # Powers of two, so that it changes seldom.
        if not self._pool.bundles:
            target = max(target, slots + int(slots * self._pace.share_ahead()))
        elif (depth := self._pace.overall_depth()) > 1:
            # Twice the depth, so that a slot never waits for the broker.
            target = max(target, slots * (2 << (depth.bit_length() - 1)))
        return max(1, target + self.extra) + len(self._consumer.parked)

    def adjust(self, link: Link) -> None:
        """Tell the broker, if it makes a difference."""
        if not link.adjustable:
            return
        wanted = self.prefetch() + self._room_for_copies(link)
        if wanted != link.prefetch:
            link.set_prefetch(wanted)

    def _room_for_copies(self, link: Link) -> int:
        """Room for messages that go back into the broker until they are due; it answers when it has written
        them, and writes many as fast as one.
        """
        if self._no_room_until and monotonic() < self._no_room_until:
            return 0
        waiting = link.copying()
        if waiting:
            self._copied_at = monotonic()
            if 2 * waiting >= link.prefetch:
                self._copies = max(self._copies, min(2 << waiting.bit_length(), _MOST_COPIES))
        elif self._copies and monotonic() - self._copied_at > _COPIES_SECONDS:
            self._copies = 0
        return self._copies

    def give_back_surplus(self, link: Link) -> None:
        """Messages fetched for short tasks go back when the tasks turn out not to be short."""
        consumer, now = self._consumer, monotonic()
        if not consumer.ready or now - consumer.progress_at < _SURPLUS_SECONDS:
            return
        # A machine that is too busy to run the children is no reason to give anything back.
        if any(now - each.began < _SURPLUS_SECONDS for each in self._pool.running()):
            return
        # What was acknowledged when it began takes no room.
        taking = sum(not held.delivery.settled for held in consumer.running.values())
        keep = max(0, self._base + self.extra - taking)
        if len(consumer.ready) > keep and link.adjustable:
            self._copies, self._no_room_until = 0, now + _NO_ROOM_SECONDS
            link.set_prefetch(max(1, self._base + self.extra) + len(consumer.parked))
            consumer.give_back_surplus(keep)
