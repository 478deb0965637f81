"""PreforkPool: one job at a time in each child; only short ones wait behind each other."""

from __future__ import annotations

import signal
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.pool.pace import SHORT_SECONDS, Pace
from taskyard.pool.pool import Limits, Running
from taskyard.pool.processes import ProcessPool

if TYPE_CHECKING:
    from taskyard.execution.job import Job
    from taskyard.pool.birth import Cradle
    from taskyard.pool.process import ChildProcess

#: How often a slot with several jobs is looked at, seconds.
_WATCH_SECONDS = 0.02
#: Signals that end a program by default; our children heed only the one that cannot be ignored.
_ENDING = frozenset([signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])


class PreforkPool(ProcessPool):
    """`slots` child processes."""

    kind = "prefork"
    enforces_limits = True

    def __init__(self, cradle: Cradle, slots: int, *, pace: Pace, **options: Any) -> None:
        super().__init__(cradle, slots, pace=pace, **options)
        self.slots = slots
        self._chosen: ChildProcess | None = None
        self._depth = 1

    def attach(self, loop: object) -> None:
        """Watch the children."""
        super().attach(loop)
        self.loop.call_repeatedly(_WATCH_SECONDS, self._unblock_slots)

    # -- jobs
    def depth(self, name: str) -> int:
        """As the pace of that task allows."""
        return self._pace.depth(name)

    def accepts(self, name: str) -> bool:
        """A free child, or for short tasks one that has only short ones and not too many."""
        depth = self._depth = self._pace.depth(name)
        self._chosen = self._choose(depth)
        return self._chosen is not None

    def _choose(self, depth: int) -> ChildProcess | None:
        best: ChildProcess | None = None
        least = depth
        for worker in self._workers.values():
            held = len(worker.jobs)
            if held >= least or worker.long or worker.closing or worker.up < 2:
                continue
            if self._max_tasks and worker.given >= self._max_tasks:
                continue
            best, least = worker, held
            if not held:
                break
        return best

    def submit(self, job: Job, limits: Limits) -> None:
        """Give the job to the child with the least work."""
        worker = self._chosen
        assert worker is not None, "submit only after accepts"
        worker.add(job, self._depth > 1, job)
        if limits.soft is not None:
            self.loop.call_later(limits.soft, self._check_soft, worker, job.seq, limits.soft)
        if limits.hard is not None:
            self.loop.call_later(limits.hard, self._check_hard, worker, job.seq, limits.hard)

    # -- limits
    def _remaining(self, worker: ChildProcess, seq: int, limit: float) -> float | None:
        """Seconds until the job's limit; None when the job is not the child's any more."""
        if seq not in worker.jobs or worker.pid not in self._workers:
            return None
        if worker.board.begun() != seq:
            return limit
        return limit - (monotonic() - worker.board.begun_at())

    def _check_soft(self, worker: ChildProcess, seq: int, limit: float) -> None:
        left = self._remaining(worker, seq, limit)
        if left is None:
            return
        if left > 0.001:
            self.loop.call_later(left, self._check_soft, worker, seq, limit)
            return
        self.on_soft_limit(seq, limit)
        self._interrupt(worker, seq)

    def _interrupt(self, worker: ChildProcess, seq: int) -> None:
        """Raise SoftTimeLimitExceeded in the task."""
        worker.board.aim_soft_limit(seq)
        worker.signal(signal.SIGUSR1)

    def _check_hard(self, worker: ChildProcess, seq: int, limit: float) -> None:
        left = self._remaining(worker, seq, limit)
        if left is None:
            return
        if left > 0.001:
            self.loop.call_later(left, self._check_hard, worker, seq, limit)
            return
        worker.doomed[seq] = limit
        worker.signal(signal.SIGKILL)

    def terminate_job(self, seq: int, number: int) -> bool:
        """Signal the child, if the job runs; those that end programs end it for sure."""
        worker = self._holder(seq)
        if worker is None or worker.board.begun() != seq:
            return False
        if number == signal.SIGUSR1:
            self._interrupt(worker, seq)
            return True
        worker.terminated[seq] = number
        worker.signal(signal.SIGKILL if number in _ENDING else number)
        return True

    # -- taking back
    def _unblock_slots(self) -> None:
        """Take back what waits behind a task that turned out not to be short, and get its predecessors'
        answers.
        """
        now = monotonic()
        blocked = [
            worker
            for worker in self._workers.values()
            if len(worker.jobs) > 1
            and worker.board.begun() in worker.jobs
            and now - worker.board.begun_at() > 4 * SHORT_SECONDS
        ]
        if not blocked:
            return
        for worker in blocked:
            begun = worker.board.begun()
            known = worker.jobs.get(begun)
            if known is not None:
                self._pace.observe(known[0], now - worker.board.begun_at())
                worker.jobs[begun] = (known[0], False)
                worker.long += known[1]
            if any(seq < begun for seq in worker.jobs):
                worker.signal(signal.SIGUSR2)
        returned = self._take_back_from(blocked)
        if returned:
            self.on_returned(returned)

    # -- state and size
    def running(self) -> list[Running]:
        """What has begun, from the boards."""
        found = []
        for worker in list(self._workers.values()):
            begun = worker.board.begun()
            if begun in worker.jobs:
                found.append(Running(begun, worker.board.begun_at(), worker.pid))
        return found

    def grow(self, count: int = 1) -> None:
        """More children."""
        self.slots += count
        self._resize(self.slots)

    def shrink(self, count: int = 1) -> None:
        """Fewer children: idle ones at once, the others after their task."""
        if self.slots - count < 1:
            raise ValueError(f"the pool has {self.slots} processes and keeps at least one")
        self.slots -= count
        self._resize(self.slots)
