"""Held: a message in the worker's hands that is a task."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.broker.delivery import Delivery
    from taskyard.loop import Timer
    from taskyard.message.protocol import Envelope
    from taskyard.pool.pool import Limits


class Held:
    """A delivery that is a task, from its arrival to its settlement."""

    __slots__ = (
        "delivery",
        "early",
        "envelope",
        "fate",
        "limits",
        "rated",
        "seq",
        "successor",
        "taken",
        "timer",
    )

    def __init__(self, delivery: Delivery, envelope: Envelope, seq: int, limits: Limits) -> None:
        self.delivery = delivery
        self.envelope = envelope
        self.seq = seq
        self.limits = limits
        #: When it came (unix seconds).
        self.taken = time()
        #: A later delivery of the same task, to be settled with this one.
        self.successor: Delivery | None = None
        self.timer: Timer | None = None
        #: Parked because of its rate limit.
        self.rated = False
        #: In the pool, and acknowledged when it begins (acks_late off).
        self.early = False
        #: What becomes of it when the pool has ended it: nothing ("cancelled") if it comes again by itself.
        self.fate = ""

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
