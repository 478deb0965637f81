"""Messages that are acknowledged when their task begins (acks_late off): then nobody else has them."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskyard.pool.pool import Pool
    from taskyard.worker.held import Held


class EarlyAcknowledgements:
    """Those that are in the pool and perhaps have not begun."""

    def __init__(self) -> None:
        self._waiting: dict[int, Held] = {}

    def expect(self, held: Held) -> None:
        """The pool has it."""
        held.early = True
        self._waiting[held.seq] = held

    def returned(self, held: Held) -> None:
        """The pool has given it back: it has not begun."""
        if held.early:
            held.early = False
            self._waiting.pop(held.seq, None)

    def look(self, pool: Pool, running: Container[int]) -> None:
        """Called often: acknowledge what has begun."""
        waiting = self._waiting
        if not waiting:
            return
        for each in pool.running():
            held = waiting.pop(each.seq, None)
            if held is not None and not held.delivery.settled:
                held.delivery.ack()
        for seq in [seq for seq in waiting if seq not in running]:
            del waiting[seq]  # it has ended, and was acknowledged by that
