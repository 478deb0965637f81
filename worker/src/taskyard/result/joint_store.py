"""The worker's results in the Redis that is its broker too: stored and acknowledged in one call.

They go by the broker's connection.  A chord has to be told between the two, so parts of chords go by another
one; so does all while the broker's connection is lost, and for a time after its server refused a call.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from itertools import chain, count
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from taskyard.result.redis_store import RESULTS_A_CALL, RedisStore

if TYPE_CHECKING:
    from taskyard.broker.link import Link
    from taskyard.broker.redis.joint import JointCalls
    from taskyard.result.store import Batch
    from taskyard.settings import Settings

logger = logging.getLogger("taskyard.result.store")

#: Seconds until calls are tried again which the server refused (it was full, say).
_AGAIN_SECONDS: Final = 30.0


class JointStore(RedisStore):
    """Stores by the broker's connection wherever it can."""

    def __init__(self, url: str, settings: Settings, loop: Any) -> None:
        super().__init__(url, settings, loop)
        self._joint: JointCalls | None = None
        self._for_joint: deque[Batch] = deque()
        #: Calls without an answer by number, the oldest first.
        self._calls: dict[int, list[Batch]] = {}
        self._numbers = count()
        self._again_at: float | None = None

    @property
    def pending(self) -> int:
        """Batches that are not stored yet."""
        return super().pending + len(self._for_joint) + sum(map(len, self._calls.values()))

    def link_open(self, link: Link) -> None:
        """From now on by this connection, if it leads to the same server."""
        self._joint = link.joint_calls(self._url, self.script.source)
        self._again_at = None

    def link_lost(self) -> None:
        """What had no answer is stored again: that it was stored before does no harm."""
        self._joint = None
        self._turn_to_own_connection()

    def _turn_to_own_connection(self) -> None:
        for batch in chain(*self._calls.values(), self._for_joint):
            super().put(batch)
        self._calls.clear()
        self._for_joint.clear()

    def put(self, batch: Batch) -> None:
        """Store with the others of this turn; in order, if earlier ones wait for a store that is away."""
        if self._joint is None or batch.brought is not None or self.away or self._refused():
            super().put(batch)
        else:
            self._for_joint.append(batch)

    def _refused(self) -> bool:
        if self._again_at is None:
            return False
        if monotonic() < self._again_at or super().pending:
            return True
        self._again_at = None
        return False

    def flush(self) -> None:
        """Send what was put in this turn."""
        joint, waiting = self._joint, self._for_joint
        if joint is not None and joint.usable:  # if it is not, the worker is about to say so
            while waiting:
                self._send(joint, [waiting.popleft() for _ in range(min(len(waiting), RESULTS_A_CALL))])
        super().flush()

    def _send(self, joint: JointCalls, batches: list[Batch]) -> None:
        keys: list[bytes] = []
        arguments = list(self.lives)
        for batch in batches:
            self.pack(batch, keys, arguments)
        number = next(self._numbers)
        self._calls[number] = batches
        deliveries = [batch.delivery for batch in batches]
        joint.call(keys, arguments, deliveries, partial(self._answered_jointly, number))

    def _answered_jointly(self, number: int, error: Exception | None) -> None:
        if number not in self._calls:
            return  # stored by the other connection, because a call before it was refused
        if error is not None:
            logger.warning("results go by a connection of their own, the broker's refuses them: %s", error)
            self._again_at = monotonic() + _AGAIN_SECONDS
            self._turn_to_own_connection()
            return
        for batch in self._calls.pop(number):
            batch.stored()
