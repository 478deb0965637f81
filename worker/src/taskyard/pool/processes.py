"""ProcessPool: what all pools of child processes share of jobs: answers, losses, taking back."""

from __future__ import annotations

import contextlib
import logging
import signal
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.execution.job import MALFORMED, PROGRESS, SKIPPED, Outcome
from taskyard.pool.board import Board
from taskyard.pool.children import Children
from taskyard.pool.frames import PIECE, FrameReader, frame_of, pack_frame
from taskyard.pool.pool import LostJob
from taskyard.pool.stuck import LOOK_SECONDS, StuckChildren

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taskyard.pool.process import ChildProcess

logger = logging.getLogger(__name__)

#: A child that dies younger than this, seconds, without having finished a job is replaced only after a pause.
_CRADLE_SECONDS = 1.0


class ProcessPool(Children):
    """Child processes; a lost or worn one is replaced at once."""

    def attach(self, loop: object) -> None:
        """Watch the children, also for those that do nothing."""
        super().attach(loop)
        self.loop.call_repeatedly(LOOK_SECONDS, StuckChildren(self).look)

    # -- answers
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
            self._collect(worker, worker.reader.feed(data), outcomes)
        except Exception as error:
            # What else than its answers is in there, only its task can know: the stream cannot be read on.
            logger.error("Child process %s sends nonsense (%s): it is killed and replaced", worker.pid, error)
            self.loop.remove(worker.sock)
            worker.signal(signal.SIGKILL)
        if outcomes:
            self.on_outcomes(outcomes)
        self._maybe_retire(worker)

    def _collect(
        self, worker: ChildProcess, frames: Iterable[list[Outcome]], outcomes: list[Outcome]
    ) -> None:
        for frame in frames:
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
        """The process is gone: read what it still said, and was about to say, then see to what it held."""
        outcomes: list[Outcome] = []
        while worker.sock.fileno() >= 0:
            try:
                data = worker.sock.recv(PIECE)
            except OSError:
                break
            if not data:
                break
            try:
                self._collect(worker, worker.reader.feed(data), outcomes)
            except Exception:
                break  # it was killed for that
        count, answers = worker.board.held()
        if count:
            # What it has said as well is known by now; what it wrote at random before it died is passed over.
            with contextlib.suppress(Exception):
                self._collect(worker, FrameReader(Outcome).feed(frame_of(count, answers)), outcomes)
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
