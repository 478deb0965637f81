"""Children that have stopped answering: known by jobs that they do not begin, or an end that does not come.

A task that has begun is never taken for stuck, however long it runs: for that there are time limits.
"""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskyard.pool.process import ChildProcess
    from taskyard.pool.processes import ProcessPool

logger = logging.getLogger("taskyard.worker")

#: How often it is looked, seconds.
LOOK_SECONDS = 2.0
#: Looks without any progress after which a child with jobs is stuck, and one that is to end does not end.
#: Counted, not measured: a machine that was asleep has not looked.
IDLE_LOOKS, END_LOOKS = 5, 15


class StuckChildren:
    """Replaces them; what they had not begun goes to others."""

    def __init__(self, pool: ProcessPool) -> None:
        self._pool = pool
        #: pid -> what was seen last, and how often since.
        self._seen: dict[int, tuple[object, int]] = {}

    def look(self) -> None:
        """Called every LOOK_SECONDS."""
        before, self._seen = self._seen, {}
        for worker in list(self._pool.children):
            mark = _mark(worker)
            if mark is None:
                continue
            known, looks = before.get(worker.pid, (None, 0))
            looks = looks + 1 if mark == known else 0
            self._seen[worker.pid] = mark, looks
            if worker.ending and looks >= END_LOOKS:
                self._kill(worker, "does not end", looks)
            elif not worker.ending and looks >= IDLE_LOOKS and self._pool.take_all_back(worker):
                self._kill(worker, "does not begin its tasks", looks)

    def _kill(self, worker: ChildProcess, why: str, looks: int) -> None:
        seconds = looks * LOOK_SECONDS
        logger.error("Child process %s %s for %g s: it is killed and replaced", worker.pid, why, seconds)
        worker.signal(signal.SIGKILL)


def _mark(worker: ChildProcess) -> object:
    """What must change if the child is well; None if nothing is expected of it."""
    if worker.ending:
        return "ending"
    begun = worker.board.begun()
    oldest = next(iter(worker.jobs), 0)
    if oldest <= begun:
        return None
    return oldest, len(worker.unsent)
