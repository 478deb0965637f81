"""What the worker holds: messages that wait, are parked or run, and how they are given back or survive the
loss of their connection.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from taskyard.worker.rate_limits import RateLimits

if TYPE_CHECKING:
    from taskyard.broker.link import Link
    from taskyard.worker.doubles import Doubles
    from taskyard.worker.endings import Endings
    from taskyard.worker.figures import State
    from taskyard.worker.held import Held


class Holdings:
    """Books of the consumer."""

    def __init__(self, endings: Endings, doubles: Doubles, state: State) -> None:
        self.endings = endings
        self._doubles = doubles
        self._state = state
        self.rates = RateLimits()
        #: May jobs begin?
        self.open = False
        #: The tap is being closed: what waits is about to be given back, all together.
        self._closing = False
        self.ready: deque[Held] = deque()
        self.parked: set[Held] = set()
        #: In the pool, by sequence number.
        self.running: dict[int, Held] = {}

    @property
    def held(self) -> int:
        """Messages taken and not yet settled."""
        endings = self.endings
        waiting = len(self.ready) + len(self.parked)
        return waiting + len(self.running) + len(endings.settling) + endings.discarding

    def unpark(self, held: Held) -> None:
        """It waits for its time no more."""
        self.parked.discard(held)
        if held.timer is not None:
            held.timer.cancel()
        if held.rated:
            held.rated = False
            self.rates.left(held.envelope.name)

    # -- giving back
    def give_back_waiting(self) -> None:
        """Requeue everything that has not begun."""
        self._closing = False
        waiting = [*self.ready, *self.parked]
        self.ready.clear()
        self.parked.clear()
        self.rates.forget_places()
        # The head of the queue gets them in reverse, so that the oldest is first again.
        for held in reversed(waiting):
            if held.timer is not None:
                held.timer.cancel()
            held.settle("give_back")
        self._state.given_back += len(waiting)

    def give_back_surplus(self, keep: int) -> None:
        """Requeue the last ready ones beyond `keep`."""
        while len(self.ready) > keep:
            held = self.ready.pop()
            held.settle("give_back")
            self._state.given_back += 1

    def give_back_running(self) -> None:
        """Requeue what runs, after its processes were ended."""
        running = list(self.running.values())
        self.running.clear()
        for held in reversed(running):
            held.settle("give_back")
        self._state.given_back += len(running)

    # -- connections come and go
    def _at_work(self) -> list[Held]:
        return [*self.running.values(), *self.endings.settling]

    def kept_tags(self) -> set[Any]:
        """Tags that stay ours over a lost connection: of what is at work, or acknowledged perhaps in vain."""
        at_work = {held.delivery.tag for held in self._at_work() if held.delivery.link.keeps_deliveries}
        return at_work | self._doubles.perhaps_acknowledged

    def on_link_lost(self, link: Link) -> None:
        """What has not begun will come again; what runs goes on."""
        self._closing = False
        for held in self.parked:
            if held.timer is not None:
                held.timer.cancel()
        self.parked.clear()
        self.ready.clear()
        self.rates.forget_places()
        self._doubles.link_lost(link, self._at_work())

    def on_link_open(self, link: Link) -> None:
        """Deliveries that stayed ours are settled by the new link from now on."""
        for held in self._at_work():
            if held.delivery.link.keeps_deliveries:
                held.delivery.link = link
        if self.kept_tags():
            link.ready_to_settle()
            link.ack_again(self._doubles.perhaps_acknowledged)
            self._doubles.perhaps_acknowledged.clear()
