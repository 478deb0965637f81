"""ProcessPool: what all pools of child processes share: birth, answers, loss, replacement, size, end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.execution.job import MALFORMED, PROGRESS, SKIPPED, Outcome
from taskyard.pool.birth import Cradle
from taskyard.pool.board import Board
from taskyard.pool.frames import PIECE, pack_frame
from taskyard.pool.pool import LostJob, Pool
from taskyard.pool.stuck import LOOK_SECONDS, StuckChildren
from taskyard.signals import worker_before_create_process

if TYPE_CHECKING:
    from collections.abc import Collection

    from taskyard.loop import Loop
    from taskyard.pool.pace import Pace
    from taskyard.pool.process import ChildProcess

logger = logging.getLogger(__name__)

#: A child that dies younger than this, seconds, without having finished a job is replaced only after a pause.
_CRADLE_SECONDS = 1.0
#: A new interpreter must have imported the app within this, seconds.
_IMPORT_SECONDS = 60.0


class ProcessPool(Pool):
    """Child processes; a lost or worn one is replaced at once."""

    #: Replacements are made as soon as a child is to end, not when it has ended.
    _replace_early = False

    def __init__(
        self, cradle: Cradle, processes: int, *, pace: Pace, max_tasks: int = 0, alive_timeout: float = 4.0
    ) -> None:
        self._cradle = cradle
        self._processes = processes
        self._pace = pace
        self._max_tasks = max_tasks
        self._alive_timeout = alive_timeout
        self._workers: dict[int, ChildProcess] = {}
        self._loop: Loop | None = None
        self._closed = False

    # -- children
    def start(self) -> None:
        """Make the children; call it before any thread or connection exists."""
        self._cradle.prepare()
        self._refill()

    def attach(self, loop: object) -> None:
        """Watch the children."""
        self._loop = loop  # type: ignore[assignment]
        for worker in self._workers.values():
            self._watch(worker)
        self.loop.call_repeatedly(LOOK_SECONDS, StuckChildren(self).look)

    @property
    def loop(self) -> Loop:
        """The loop that watches the children."""
        assert self._loop is not None
        return self._loop

    @property
    def children(self) -> Collection[ChildProcess]:
        """The children."""
        return self._workers.values()

    @property
    def pids(self) -> list[int]:
        """The process ids of the children."""
        return list(self._workers)

    def _make(self) -> None:
        if worker_before_create_process:
            worker_before_create_process.send(sender=self)
        worker = self._cradle.child(self.fork_guard)
        self._workers[worker.pid] = worker
        if self._loop is not None:
            self._watch(worker)

    def _watch(self, worker: ChildProcess) -> None:
        self.loop.add_reader(worker.sock, self._readable, worker)
        self.loop.add_reader(worker.pidfd, self._ended, worker)
        worker.up_timer = self.loop.call_later(_IMPORT_SECONDS, self._overdue, worker, _IMPORT_SECONDS)

    def _overdue(self, worker: ChildProcess, seconds: float) -> None:
        if worker.up < 2 and worker.pid in self._workers:
            what = "worker_proc_alive_timeout" if worker.up else "importing the app takes too long"
            logger.error("Child process %s was not ready within %g s (%s)", worker.pid, seconds, what)
            worker.signal(signal.SIGKILL)

    def _risen(self, worker: ChildProcess) -> None:
        """An empty frame: first the app is loaded, then the child is ready."""
        worker.up += 1
        if worker.up_timer is not None:
            worker.up_timer.cancel()
        if worker.up == 1:
            seconds = self._alive_timeout
            worker.up_timer = self.loop.call_later(seconds, self._overdue, worker, seconds)

    def _readable(self, worker: ChildProcess) -> None:
        outcomes: list[Outcome] = []
        try:
            data = worker.sock.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.loop.remove(worker.sock)
            return
        try:
            self._collect(worker, data, outcomes)
        except Exception as error:
            # What else than its answers is in there, only its task can know: the stream cannot be read on.
            logger.error("Child process %s sends nonsense (%s): it is killed and replaced", worker.pid, error)
            self.loop.remove(worker.sock)
            worker.signal(signal.SIGKILL)
        if outcomes:
            self.on_outcomes(outcomes)
        self._maybe_retire(worker)

    def _collect(self, worker: ChildProcess, data: bytes, outcomes: list[Outcome]) -> None:
        for frame in worker.reader.feed(data):
            if not frame:
                self._risen(worker)
            for outcome in frame:
                if outcome.disposition == PROGRESS:
                    outcomes.append(outcome)
                    continue
                known = worker.drop(outcome.seq)
                if outcome.worn:
                    worker.closing = True
                if outcome.disposition == SKIPPED:
                    self._skipped(worker, outcome, known is not None)
                    continue
                worker.answered += 1
                if known is not None:
                    self._pace.observe(known[0], outcome.runtime)
                    outcomes.append(outcome)

    def _skipped(self, worker: ChildProcess, outcome: Outcome, known: bool) -> None:
        """The child did not begin the job, because it was taken back."""
        if outcome.seq in worker.taken_back:
            worker.taken_back.discard(outcome.seq)
        elif known:
            self.on_returned([outcome.seq])

    def _maybe_retire(self, worker: ChildProcess) -> None:
        """Replace a child that has had its share, between two tasks."""
        if worker.closing and worker.jobs:
            returned = self._take_back_from([worker])
            if returned:
                self.on_returned(returned)
        full = self._max_tasks and worker.given >= self._max_tasks
        if full and self._replace_early and not worker.closing:
            worker.closing = True
            self._refill()
        if (worker.closing or full) and not worker.jobs and not worker.out and not worker.unsent:
            worker.closing = True
            if worker.sock.fileno() >= 0:
                self.loop.remove(worker.sock)
                worker.sock.close()  # the child ends when it reads the end

    def _ended(self, worker: ChildProcess) -> None:
        """The process is gone: read what it still said, then see to what it held."""
        outcomes: list[Outcome] = []
        while worker.sock.fileno() >= 0:
            try:
                data = worker.sock.recv(PIECE)
            except OSError:
                break
            if not data:
                break
            try:
                self._collect(worker, data, outcomes)
            except Exception:
                break  # it was killed for that
        reason = self._bury(worker)
        if outcomes:
            self.on_outcomes(outcomes)
        begun = worker.board.begun()
        lost = [
            LostJob(seq, reason, worker.doomed.get(seq), worker.terminated.get(seq))
            for seq in worker.jobs
            if seq <= begun
        ]
        returned = [seq for seq in worker.jobs if seq > begun]
        worker.board.close()
        if not self._closed:
            young = not worker.answered and monotonic() - worker.born < _CRADLE_SECONDS
            if young and not worker.doomed and not worker.terminated and not worker.closing:
                self.loop.call_later(_CRADLE_SECONDS, self._refill)
            else:
                self._refill()
        if returned:
            self.on_returned(returned)
        if lost:
            self.on_lost(lost)

    def _bury(self, worker: ChildProcess) -> str:
        self.loop.remove(worker.pidfd)
        if worker.sock.fileno() >= 0:
            self.loop.remove(worker.sock)
            worker.sock.close()
        os.close(worker.pidfd)
        if worker.up_timer is not None:
            worker.up_timer.cancel()
        self._workers.pop(worker.pid, None)
        try:
            _, status = os.waitpid(worker.pid, 0)
        except ChildProcessError:
            return "exited prematurely"
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exitcode {code}"
        reason = f"exited prematurely: {how}"
        expected = worker.closing or self._closed or worker.doomed or worker.terminated
        logger.log(logging.DEBUG if expected else logging.ERROR, "Process %s %s", worker.pid, reason)
        return reason

    def _refill(self) -> None:
        """As many children as there should be."""
        alive = self._alive() if self._replace_early else len(self._workers)
        while not self._closed and alive < self._processes:
            self._make()
            alive += 1

    def _alive(self) -> int:
        """Children that are not about to end."""
        return sum(1 for worker in self._workers.values() if not worker.closing)

    # -- size
    def _resize(self, processes: int) -> None:
        """More children, or fewer: the idle ones end first, the others after their task."""
        self._processes = processes
        surplus = self._alive() - processes
        by_load = sorted(self._workers.values(), key=lambda worker: (len(worker.jobs), worker.born))
        for worker in [worker for worker in by_load if not worker.closing][: max(surplus, 0)]:
            worker.closing = True
            self._maybe_retire(worker)
        self._refill()

    def restart(self) -> None:
        """New children at once; the present ones end after the tasks they run."""
        old = [worker for worker in self._workers.values() if not worker.closing]
        for worker in old:
            worker.closing = True
        for _ in range(self._processes):
            self._make()
        for worker in old:
            self._maybe_retire(worker)

    # -- jobs
    def flush(self) -> None:
        """One frame to each child that got jobs."""
        for worker in self._workers.values():
            if worker.out:
                items, worker.out = worker.out, []
                try:
                    worker.unsent += pack_frame(items)
                except (TypeError, ValueError, OverflowError):
                    self._pack_one_by_one(worker, items)
                worker.write(self.loop)

    def _pack_one_by_one(self, worker: ChildProcess, items: list[Any]) -> None:
        """Something in a message's headers cannot be passed on: that job fails, the others go their way."""
        for item in items:
            try:
                worker.unsent += pack_frame([item])
            except (TypeError, ValueError, OverflowError) as error:
                seq = self._seq_of(item)
                worker.drop(seq)
                reason = f"headers cannot be passed on: {error}"
                self.loop.call_soon(self.on_outcomes, [Outcome(seq, MALFORMED, "FAILURE", [], 0.0, reason)])

    def _seq_of(self, item: Any) -> int:
        seq: int = item.seq
        return seq

    def _holder(self, seq: int) -> ChildProcess | None:
        """The child that has the job."""
        return next((worker for worker in self._workers.values() if seq in worker.jobs), None)

    def take_back(self) -> list[int]:
        """Jobs not begun, of all children."""
        return self._take_back_from([worker for worker in self._workers.values() if worker.jobs])

    def take_all_back(self, worker: ChildProcess) -> bool:
        """Take back what one child has not begun, and give it nothing more; False if it runs something."""
        returned = self._take_back_from([worker])
        worker.closing = not worker.jobs
        if returned:
            self.on_returned(returned)
        return worker.closing

    def _take_back_from(self, workers: list[ChildProcess]) -> list[int]:
        returned: list[int] = []
        asked = []
        for worker in workers:
            unsent, worker.out = worker.out, []
            for item in unsent:
                seq = self._seq_of(item)
                if worker.drop(seq) is not None:
                    returned.append(seq)
            begun = worker.board.begun()
            if any(seq > begun for seq in worker.jobs):
                worker.board.forbid(worker.last)
                asked.append(worker)
        if asked:
            Board.settle()
        for worker in asked:
            begun = worker.board.begun()
            for seq in [seq for seq in worker.jobs if seq > begun]:
                worker.drop(seq)
                worker.taken_back.add(seq)
                returned.append(seq)
        return returned

    # -- end
    def kill(self) -> None:
        """SIGKILL to all children; no replacements, no reports."""
        self._closed = True
        for worker in list(self._workers.values()):
            worker.jobs.clear()
            worker.signal(signal.SIGKILL)
        self._await_end(10.0)

    def close(self) -> None:
        """Close the sockets, so that the children end by themselves."""
        self._closed = True
        for worker in list(self._workers.values()):
            with contextlib.suppress(Exception):
                self.loop.remove(worker.sock)
            worker.sock.close()
        self._await_end(3.0)
        self.kill()

    def _await_end(self, seconds: float) -> None:
        deadline = monotonic() + seconds
        for worker in list(self._workers.values()):
            if worker.await_end(deadline):
                self._workers.pop(worker.pid, None)
                with contextlib.suppress(Exception):
                    self.loop.remove(worker.pidfd)
                os.close(worker.pidfd)
