"""Which queues a link to Redis takes from, and what becomes of what was taken when it takes no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskyard.broker.redis.holding import Holding
from taskyard.broker.redis.pipe import LEAVE_SECONDS, WAIT_SECONDS

if TYPE_CHECKING:
    from taskyard.broker.redis.intake import Intake
    from taskyard.broker.redis.lease import Lease
    from taskyard.broker.redis.place import Cycle


class Consuming(Holding):
    """The part of a link that knows its queues."""

    _cycle: Cycle
    _intake: Intake
    _lease: Lease
    _consumed: dict[str, None]

    def consume(self) -> None:
        """Begin to take."""
        if not self.consuming:
            self.consuming = True
            self.session.pipe.patience = WAIT_SECONDS
            self._consumed.update(dict.fromkeys(self.queues))
            self._consumption_changed()

    def _subscribe(self, queue: str) -> None:
        if not self.session.usable:
            return  # another link takes over
        self._consumed[queue] = None
        self._consumption_changed()

    def _consumption_changed(self) -> None:
        self._cycle.update(self._consumed)
        self._intake.consume(self._consumed)
        self._lease.watch_schedules(self._consumed)

    def drop_queue(self, name: str) -> None:
        """Take from a queue no more; what was delivered stays ours."""
        self.queues.pop(name, None)
        if name in self._consumed:
            del self._consumed[name]
            self._stop_taking()

    def cancel(self) -> None:
        """Take nothing more; what was taken but not handed over is back in its queue when this returns."""
        if self.consuming:
            self.consuming = False
            self._consumed.clear()
            # What cannot be given back to a silent server comes back when the lease has ended.
            self.session.pipe.patience = LEAVE_SECONDS
            self._stop_taking()

    def _stop_taking(self) -> None:
        self._consumption_changed()
        self.session.wait()
        inbox = self._intake.inbox
        unwanted = [one for one in inbox if one.queue not in self._consumed]
        if unwanted:
            kept = [one for one in inbox if one.queue in self._consumed]
            inbox.clear()
            inbox.extend(kept)
            self._give_back([(one.tag, one) for one in unwanted])
        self.flush()

    def set_prefetch(self, count: int) -> None:
        """Hold so many messages at most; 0 is no limit."""
        self.prefetch = count
