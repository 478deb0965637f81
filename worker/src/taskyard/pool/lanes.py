"""LanePool: many jobs at the same time in each child, as threads, coroutines or greenlets.

The child sees to the time limits; the parent only to a child that has stopped to see to anything.
"""

from __future__ import annotations

import logging
import signal
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.pool.frames import pack_frame
from taskyard.pool.pool import Limits, LostJob, Running
from taskyard.pool.processes import ProcessPool

if TYPE_CHECKING:
    from taskyard.execution.job import Job, Outcome
    from taskyard.pool.birth import Cradle
    from taskyard.pool.pace import Pace
    from taskyard.pool.process import ChildProcess

logger = logging.getLogger("taskyard.worker")

#: A child that has not ended a job so long after its hard limit, seconds, is stuck.
_STUCK_SECONDS = 5.0
#: What it gets to say where, seconds.
_LAST_WORDS_SECONDS = 0.3

#: What the child is told: a job, or to end one (as by its soft limit, or for good).
RUN, INTERRUPT, TERMINATE = range(3)
#: What a child answers, in an outcome's state, for jobs that it has ended on its own account.
LIMIT_EXCEEDED, TERMINATED = "HARD-LIMIT", "TERMINATED"


class LanePool(ProcessPool):
    """`slots` jobs at the same time in all children together."""

    bundles = False
    _replace_early = True

    def __init__(
        self, cradle: Cradle, slots: int, processes: int, *, pace: Pace, enforces_limits: bool, **options: Any
    ) -> None:
        super().__init__(cradle, processes, pace=pace, **options)
        self.slots = slots
        self.enforces_limits = enforces_limits
        #: How its children run jobs.
        self.kind = cradle.lane
        self._chosen: ChildProcess | None = None

    # -- jobs
    def depth(self, name: str) -> int:
        """Nothing waits behind anything."""
        return 1

    def accepts(self, name: str) -> bool:
        """A child that does not have its share."""
        share = -(-self.slots // self._processes)
        best: ChildProcess | None = None
        total = 0
        for worker in self._workers.values():
            held = len(worker.jobs)
            total += held
            if held >= share or worker.closing or worker.up < 2:
                continue
            if best is None or held < len(best.jobs):
                best = worker
        self._chosen = best if total < self.slots else None
        return self._chosen is not None

    def submit(self, job: Job, limits: Limits) -> None:
        """Give the job to the child with the fewest."""
        worker = self._chosen
        assert worker is not None, "submit only after accepts"
        worker.add(job, True, (RUN, job.seq, job, limits.hard, limits.soft))
        worker.submitted_at[job.seq] = monotonic()
        if limits.hard is not None and self.enforces_limits:
            self.loop.call_later(limits.hard + _STUCK_SECONDS, self._kill_if_stuck, worker, job, limits.hard)
        if self._max_tasks and worker.given >= self._max_tasks:
            self.loop.call_soon(self._maybe_retire, worker)

    def _seq_of(self, item: Any) -> int:
        seq: int = item[1]
        return seq

    def _skipped(self, worker: ChildProcess, outcome: Outcome, known: bool) -> None:
        """Jobs that the child has ended by itself come as skipped ones too."""
        if outcome.state == LIMIT_EXCEEDED:
            self.on_lost([LostJob(outcome.seq, outcome.reason, outcome.runtime)])
        elif outcome.state == TERMINATED:
            number = worker.terminated.pop(outcome.seq, int(signal.SIGTERM))
            self.on_lost([LostJob(outcome.seq, outcome.reason, None, number)])
        else:
            super()._skipped(worker, outcome, known)

    def _kill_if_stuck(self, worker: ChildProcess, job: Job, limit: float) -> None:
        if job.seq not in worker.jobs or worker.pid not in self._workers:
            return
        logger.error(
            "Task %s[%s] cannot be ended at its hard time limit, because something blocks its process: "
            "process %s is killed",
            job.name,
            job.id,
            worker.pid,
        )
        worker.doomed[job.seq] = limit
        worker.signal(signal.SIGUSR2)  # the child shows what its threads do
        self.loop.call_later(_LAST_WORDS_SECONDS, self._kill_one, worker)

    def _kill_one(self, worker: ChildProcess) -> None:
        if worker.pid in self._workers:
            worker.signal(signal.SIGKILL)

    def terminate_job(self, seq: int, number: int) -> bool:
        """Ask the child; threads cannot be ended."""
        worker = self._holder(seq)
        if worker is None or not self.enforces_limits:
            return False
        if number != signal.SIGUSR1:
            worker.terminated[seq] = number
        worker.unsent += pack_frame([(INTERRUPT if number == signal.SIGUSR1 else TERMINATE, seq)])
        worker.write(self.loop)
        return True

    # -- state and size
    def running(self) -> list[Running]:
        """What has begun; it begins as soon as it is submitted."""
        found = []
        for worker in list(self._workers.values()):
            begun = worker.board.begun()
            found += [
                Running(seq, at, worker.pid) for seq, at in list(worker.submitted_at.items()) if seq <= begun
            ]
        return found

    def grow(self, count: int = 1) -> None:
        """More at the same time."""
        self.slots += count

    def shrink(self, count: int = 1) -> None:
        """Fewer at the same time."""
        if self.slots - count < 1:
            raise ValueError(f"the pool has {self.slots} slots and keeps at least one")
        self.slots -= count
