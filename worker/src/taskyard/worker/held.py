"""Held: a message in the worker's hands that is a task."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from taskyard.broker.delivery import Delivery
    from taskyard.loop import Timer
    from taskyard.message.protocol import Envelope
    from taskyard.pool.pool import Limits


class Held(msgspec.Struct, eq=False):
    """A delivery that is a task, from its arrival to its settlement."""

    delivery: Delivery
    envelope: Envelope
    seq: int
    limits: Limits
    #: When it came (unix seconds).
    taken: float = msgspec.field(default_factory=time)
    #: A later delivery of the same task, to be settled with this one.
    successor: Delivery | None = None
    timer: Timer | None = None
    #: Parked because of its rate limit.
    rated: bool = False
    #: In the pool, and acknowledged when it begins (acks_late off).
    early: bool = False
    #: What becomes of it when the pool has ended it: nothing ("cancelled") if it comes again by itself.
    fate: str = ""

    __repr__ = object.__repr__

    @property
    def fence(self) -> int:
        """What the store knows a late worker by: its try (in 10^13) and when it came, in unix milliseconds;
        negative if an earlier delivery or try may still be under way somewhere, whose result must not take
        the place of this one's.
        """
        envelope = self.envelope
        moment = envelope.retries * 10**13 + int(self.taken * 1000)
        return -moment if envelope.deliveries or envelope.retries or self.delivery.redelivered else moment

    def settle(self, how: str, *arguments: Any) -> None:
        """Call that method of the delivery (and of its successor); just acknowledge what was taken early."""
        if self.early:
            how, arguments = "ack", ()
            if self.delivery.settled:
                if self.successor is not None:
                    self.successor.ack()
                return
        getattr(self.delivery, how)(*arguments)
        if self.successor is not None:
            getattr(self.successor, how)(*arguments)
