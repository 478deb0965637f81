"""Autoscaler: grows and shrinks the pool between two bounds, by what waits and by what runs."""

from __future__ import annotations

import logging
import os
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskyard.pool.pool import Pool
    from taskyard.worker.consumer import Consumer

logger = logging.getLogger("taskyard.worker")

#: Seconds for which fewer slots must have been enough before one is given up.
KEEPALIVE_SECONDS = float(os.environ.get("AUTOSCALE_KEEPALIVE") or 30)
#: Seconds between two looks.
INTERVAL_SECONDS = 1.0


class Autoscaler:
    """Subclasses may decide otherwise in `wanted` (setting worker_autoscaler)."""

    def __init__(self, pool: Pool, consumer: Consumer, most: int, fewest: int) -> None:
        self.pool = pool
        self.consumer = consumer
        self.most = most
        self.fewest = fewest
        #: monotonic() when all slots were last needed.
        self._needed_at = monotonic()

    @property
    def extra_prefetch(self) -> int:
        """Messages to fetch beyond the slots: without one that waits nobody knows that more could run."""
        return min(self.pool.slots, max(self.most - self.pool.slots, 0))

    def wanted(self) -> int:
        """How many slots there should be now: one for each message that runs or waits here."""
        return len(self.consumer.running) + len(self.consumer.ready)

    def adjust(self) -> None:
        """Look, and change the pool's size: up at once, down when it was too big for a while."""
        slots = self.pool.slots
        wanted = max(self.fewest, min(self.wanted(), self.most))
        if wanted >= slots:
            self._needed_at = monotonic()
        if wanted > slots or slots < self.fewest:
            self._scale(wanted - slots)
        elif slots > self.most:
            self._scale(self.most - slots)
        elif wanted < slots and monotonic() - self._needed_at > KEEPALIVE_SECONDS:
            self._scale(wanted - slots)

    def update(self, most: int | None = None, fewest: int | None = None) -> tuple[int, int]:
        """New bounds; both as they are now."""
        if most is not None:
            self.most = max(1, most)
            self.fewest = min(self.fewest, self.most)
        if fewest is not None:
            self.fewest = max(1, fewest)
            self.most = max(self.most, self.fewest)
        self.adjust()
        return self.most, self.fewest

    def info(self) -> dict[str, int]:
        """For `inspect stats`."""
        return {"max": self.most, "min": self.fewest, "current": self.pool.slots, "qty": self.wanted()}

    def _scale(self, count: int) -> None:
        if count > 0:
            logger.info("Scaling up %s processes.", count)
            self.pool.grow(count)
        else:
            logger.info("Scaling down %s processes.", -count)
            self.pool.shrink(-count)
