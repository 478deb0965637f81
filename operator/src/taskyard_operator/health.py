"""Whether the operator lives and whether it is ready, each with the reasons against."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from taskyard_operator import metrics

_LONGEST_SILENCE = 30.0
_OLDEST_KEY = 300.0
"""More than two passes may take that run into their time limit; a backlog older than that does not move."""
_LONGEST_LAG = 30.0


class _Queue(Protocol):
    def silence(self) -> float: ...

    def oldest(self) -> float: ...


class _Watches(Protocol):
    caught_up: bool

    def blind(self) -> list[str]: ...


@dataclass(slots=True)
class Health:
    """Asks the parts. ``standby`` is True while another replica is the leader: ready to take over, idle."""

    queue: _Queue
    watches: _Watches
    standby: bool = False
    lag: float = field(default=0.0)

    async def beat(self) -> None:
        """Measure for ever how late the event loop wakes whom it should."""
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(1.0)
            self.lag = loop.time() - before - 1.0
            metrics.LOOP_LAG_SECONDS.set(self.lag)

    def dead(self) -> list[str]:
        """Why the process should be restarted; empty while it works."""
        reasons = []
        if (silence := self.queue.silence()) > _LONGEST_SILENCE:
            reasons.append(f"the work queue has not come round for {silence:.0f} s")
        if (oldest := self.queue.oldest()) > _OLDEST_KEY:
            reasons.append(f"a key has been due for {oldest:.0f} s")
        if self.lag > _LONGEST_LAG:
            reasons.append(f"the event loop was {self.lag:.0f} s late")
        return reasons + self.watches.blind()

    def unready(self) -> list[str]:
        """Why it is not ready; a standby is."""
        if self.standby or self.watches.caught_up:
            return []
        return ["the first list of TaskQueues and WorkerPools is not complete"]
