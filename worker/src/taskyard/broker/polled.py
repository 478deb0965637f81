"""The link for a transport of somebody else's: any that kombu can load.

It is asked for messages many times a second.  What is not yet due waits here, unacknowledged, and what is
held when the connection ends goes back to its queue: leases, a schedule and counts of deliveries need a
transport of Taskyard's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from time import time
from typing import TYPE_CHECKING, Any

from taskyard.broker.envelope import dead, dead_letters
from taskyard.broker.virtual_link import VirtualLink

if TYPE_CHECKING:
    from kombu import Connection

    from taskyard.broker.delivery import Delivery

#: Seconds between two looks while nothing comes.
_PAUSE = 0.05
#: Messages that are taken in one turn of the loop.
_MOST = 100
#: A look may take so long, seconds; 0 would mean no limit to some transports.
_LOOK = 0.001


class PolledLink(VirtualLink):
    """Messages are taken by kombu's `drain_events`."""

    keeps_deliveries = False

    def __init__(
        self,
        connection: Connection,
        queues: Collection[Any],
        on_delivery: Callable[[Delivery], None],
        rules: Mapping[str, Any],
    ) -> None:
        super().__init__(connection, queues, on_delivery)
        self._rules = rules
        #: Not yet due; they take no room.
        self._waiting = 0

    def register(self, loop: Any) -> None:
        """Look for messages from now on."""
        self._loop = loop
        self._look()

    def _look(self) -> None:
        if not self.alive:
            return
        pause = _PAUSE
        with contextlib.suppress(TimeoutError):
            for _ in range(_MOST):
                self.connection.drain_events(timeout=_LOOK)
                pause = 0.0
        self._loop.call_later(pause, self._look)

    def set_prefetch(self, count: int) -> None:
        """Hold so many messages at most that could run."""
        self.prefetch = count
        self.channel.basic_qos(0, count + self._waiting, False)

    def ready_to_settle(self) -> None:
        """Nothing is kept from an earlier link."""

    def ack_again(self, tags: Collection[Any]) -> None:
        """Nothing is kept from an earlier link."""

    def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """A copy with the reason, then the acknowledgement: in between a crash doubles, it never loses."""
        target = dead_letters(self._rules, delivery.queue).queue
        message = self._copy(delivery, delivery.headers)
        dead(message, reason=reason, queue=delivery.queue, target=target, delivered=True)
        self.channel.queue_declare(target)
        self.channel.basic_publish(message, exchange="", routing_key=target)
        self.channel.basic_ack(delivery.tag)

    def defer(self, delivery: Delivery, due: float) -> None:
        """Keep it here until it is due."""
        self._wait(1)
        self._loop.call_later(max(0.0, due - time()), self._due, delivery)

    def _due(self, delivery: Delivery) -> None:
        self._wait(-1)
        if self.alive and self.consuming:
            delivery.settled = False
            self._on_delivery(delivery)

    def _wait(self, more: int) -> None:
        self._waiting += more
        if self.alive:
            self.set_prefetch(self.prefetch)

    def flush(self) -> None:
        """Nothing is buffered."""

    def abandon(self) -> None:
        """What is held goes back, as far as the transport still can."""
        self.close()
