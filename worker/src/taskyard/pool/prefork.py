"""The parent's side of a prefork pool: children, what each holds, limits, replacement, lost children."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import time
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.execution.job import MALFORMED, PROGRESS, SKIPPED, Job, Outcome
from taskyard.log import name_process
from taskyard.pool.board import Board
from taskyard.pool.child import child_main
from taskyard.pool.frames import FrameReader, pack_frame
from taskyard.pool.pace import SHORT_SECONDS, Pace
from taskyard.pool.pool import Limits, LostJob, Pool, Running

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.loop import Loop

logger = logging.getLogger(__name__)

#: A child that dies younger than this, seconds, without having finished a job is replaced only after a pause.
_CRADLE_SECONDS = 1.0
#: How often a slot with several jobs is looked at, seconds.
_WATCH_SECONDS = 0.02


class _Worker:
    """One child as the parent sees it."""

    __slots__ = (
        "answered", "board", "born", "closing", "exceeded", "given", "jobs", "last", "long", "out", "pid",
        "pidfd", "reader", "sock", "taken_back", "unsent", "writing",
    )  # fmt: skip

    def __init__(self, pid: int, sock: socket.socket, board: Board) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.sock = sock
        self.board = board
        self.reader = FrameReader()
        #: seq -> (name, is short), in the order in which the child runs them.
        self.jobs: dict[int, tuple[str, bool]] = {}
        #: How many of them are not known to be short.
        self.long = 0
        self.out: list[Job] = []
        self.unsent = bytearray()
        self.writing = False
        self.given = 0
        self.answered = 0
        self.last = 0
        self.born = monotonic()
        self.closing = False
        #: seq -> hard limit for which the child is being killed.
        self.exceeded: tuple[int, float] | None = None
        self.taken_back: set[int] = set()

    def add(self, job: Job, short: bool) -> None:
        """The job is the child's from now on."""
        self.jobs[job.seq] = (job.name, short)
        self.long += not short
        self.out.append(job)
        self.given += 1
        self.last = job.seq

    def drop(self, seq: int) -> tuple[str, bool] | None:
        """The job is the child's no more; what was known of it."""
        known = self.jobs.pop(seq, None)
        if known is not None:
            self.long -= not known[1]
        return known


class PreforkPool(Pool):
    """`slots` child processes; a lost or worn one is replaced at once."""

    def __init__(
        self,
        app: App,
        slots: int,
        hostname: str,
        *,
        store: bool,
        pace: Pace,
        max_tasks: int | None = None,
        max_memory: int | None = None,
    ) -> None:
        self.slots = slots
        self._app = app
        self._hostname = hostname
        self._store = store
        self._pace = pace
        self._max_tasks = max_tasks or 0
        self._max_memory = max_memory or 0
        self._workers: dict[int, _Worker] = {}
        self._loop: Loop | None = None
        self._closed = False
        self._inherited: set[int] = set()
        self._forked = 0
        self._chosen: _Worker | None = None
        #: Held while a process is forked: other threads wait outside of critical sections.
        self.fork_guard: Any = contextlib.nullcontext()

    # -- children
    def start(self) -> None:
        """Fork the children; call it before any thread or connection exists."""
        gc.collect()
        gc.freeze()
        self._inherited = _open_fds()
        for _ in range(self.slots):
            self._fork()

    def attach(self, loop: object) -> None:
        """Watch the children."""
        self._loop = loop  # type: ignore[assignment]
        for worker in self._workers.values():
            self._watch(worker)
        self.loop.call_repeatedly(_WATCH_SECONDS, self._unblock_slots)

    @property
    def loop(self) -> Loop:
        """The loop that watches the children."""
        assert self._loop is not None
        return self._loop

    def _fork(self) -> _Worker:
        ours, theirs = socket.socketpair()
        self._forked += 1
        for each in (ours, theirs):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        board = Board()
        parent = os.getpid()
        with self.fork_guard:
            pid = os.fork()
        if pid == 0:
            self._in_child(ours, theirs, board, parent)
        theirs.close()
        ours.setblocking(False)
        worker = self._workers[pid] = _Worker(pid, ours, board)
        if self._loop is not None:
            self._watch(worker)
        return worker

    def _in_child(self, ours: socket.socket, theirs: socket.socket, board: Board, parent: int) -> None:
        name_process(f"ForkPoolWorker-{self._forked}")
        try:
            # Numbers stay taken (by /dev/null), so that an inherited object that closes itself closes
            # nothing else.
            null = os.open(os.devnull, os.O_RDWR)
            for fd in _open_fds() - self._inherited - {theirs.fileno(), null}:
                os.dup2(null, fd)
        except OSError:
            os._exit(1)
        child_main(
            self._app,
            self._hostname,
            theirs,
            board,
            store=self._store,
            max_memory=self._max_memory,
            parent=parent,
        )

    def _watch(self, worker: _Worker) -> None:
        self.loop.add_reader(worker.sock, self._readable, worker)
        self.loop.add_reader(worker.pidfd, self._ended, worker)

    def _readable(self, worker: _Worker) -> None:
        outcomes: list[Outcome] = []
        try:
            data = worker.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.loop.remove(worker.sock)
            return
        self._collect(worker, data, outcomes)
        if outcomes:
            self.on_outcomes(outcomes)
        self._maybe_retire(worker)

    def _collect(self, worker: _Worker, data: bytes, outcomes: list[Outcome]) -> None:
        for frame in worker.reader.feed(data):
            for item in frame:
                outcome = Outcome._make(item)
                if outcome.disposition == PROGRESS:
                    outcomes.append(outcome)
                    continue
                known = worker.drop(outcome.seq)
                if outcome.worn:
                    worker.closing = True
                if outcome.disposition == SKIPPED:
                    if outcome.seq in worker.taken_back:
                        worker.taken_back.discard(outcome.seq)
                    elif known is not None:
                        self.on_returned([outcome.seq])
                    continue
                worker.answered += 1
                if known is not None:
                    self._pace.observe(known[0], outcome.runtime)
                    outcomes.append(outcome)

    def _maybe_retire(self, worker: _Worker) -> None:
        """Replace a child that has had its share, between two tasks."""
        if worker.closing and worker.jobs:
            returned = self._take_back_from([worker])
            if returned:
                self.on_returned(returned)
        full = self._max_tasks and worker.given >= self._max_tasks
        if (worker.closing or full) and not worker.jobs and not worker.out and not worker.unsent:
            worker.closing = True
            self.loop.remove(worker.sock)
            worker.sock.close()  # the child ends when it reads the end

    def _ended(self, worker: _Worker) -> None:
        """The process is gone: read what it still said, then see to what it held."""
        outcomes: list[Outcome] = []
        while worker.sock.fileno() >= 0:
            try:
                data = worker.sock.recv(1 << 18)
            except OSError:
                break
            if not data:
                break
            self._collect(worker, data, outcomes)
        reason = self._bury(worker)
        if outcomes:
            self.on_outcomes(outcomes)
        begun = worker.board.begun()
        lost, returned = [], []
        for seq in worker.jobs:
            if seq > begun:
                returned.append(seq)
            elif worker.exceeded is not None and worker.exceeded[0] == seq:
                lost.append(LostJob(seq, reason, worker.exceeded[1]))
            else:
                lost.append(LostJob(seq, reason, None))
        worker.board.close()
        if not self._closed:
            infant = (
                not worker.answered
                and monotonic() - worker.born < _CRADLE_SECONDS
                and worker.exceeded is None
            )
            if infant:
                self.loop.call_later(_CRADLE_SECONDS, self._refill)
            else:
                self._refill()
        if returned:
            self.on_returned(returned)
        if lost:
            self.on_lost(lost)

    def _bury(self, worker: _Worker) -> str:
        self.loop.remove(worker.pidfd)
        if worker.sock.fileno() >= 0:
            self.loop.remove(worker.sock)
            worker.sock.close()
        os.close(worker.pidfd)
        self._workers.pop(worker.pid, None)
        try:
            _, status = os.waitpid(worker.pid, 0)
        except ChildProcessError:
            return "has ended"
        code = os.waitstatus_to_exitcode(status)
        reason = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        expected = worker.closing or self._closed or worker.exceeded is not None
        logger.log(
            logging.DEBUG if expected else logging.ERROR,
            "Child process %s %s",
            worker.pid,
            reason,
        )
        return reason

    def _refill(self) -> None:
        while not self._closed and len(self._workers) < self.slots:
            self._fork()

    # -- jobs
    def depth(self, name: str) -> int:
        """As the pace of that task allows."""
        return self._pace.depth(name)

    def accepts(self, name: str) -> bool:
        """A free child, or for short tasks one that has only short ones and not too many."""
        self._chosen = self._choose(self._pace.depth(name))
        return self._chosen is not None

    def _choose(self, depth: int) -> _Worker | None:
        best: _Worker | None = None
        least = depth
        for worker in self._workers.values():
            held = len(worker.jobs)
            if held >= least or worker.long or worker.closing:
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
        short = self._pace.depth(job.name) > 1
        worker.add(job, short)
        for limit, action in ((limits.soft, self._check_soft), (limits.hard, self._check_hard)):
            if limit is not None:
                self.loop.call_later(limit, action, worker, job.seq, limit)

    def flush(self) -> None:
        """One frame to each child that got jobs."""
        for worker in self._workers.values():
            if worker.out:
                jobs, worker.out = worker.out, []
                try:
                    worker.unsent += pack_frame(jobs)
                except (TypeError, ValueError, OverflowError):
                    self._pack_one_by_one(worker, jobs)
                self._write(worker)

    def _pack_one_by_one(self, worker: _Worker, jobs: list[Job]) -> None:
        """Something in a message's headers cannot be passed on: that job fails, the others go their way."""
        for job in jobs:
            try:
                worker.unsent += pack_frame([job])
            except (TypeError, ValueError, OverflowError) as error:
                worker.drop(job.seq)
                outcome = Outcome(
                    job.seq, MALFORMED, "FAILURE", [], 0.0, f"headers cannot be passed on: {error}"
                )
                self.loop.call_soon(self.on_outcomes, [outcome])

    def _write(self, worker: _Worker) -> None:
        unsent = worker.unsent
        while unsent:
            try:
                sent = worker.sock.send(unsent)
            except BlockingIOError:
                break
            except OSError:
                unsent.clear()  # the child is gone; its end is noticed by itself
                break
            del unsent[:sent]
        if bool(unsent) != worker.writing:
            worker.writing = bool(unsent)
            if worker.writing:
                self.loop.add_writer(worker.sock, self._write, worker)
            else:
                self.loop.remove_writer(worker.sock)

    # -- limits
    def _remaining(self, worker: _Worker, seq: int, limit: float) -> float | None:
        """Seconds until the job's limit; None when the job is not the child's any more."""
        if seq not in worker.jobs or worker.pid not in self._workers:
            return None
        if worker.board.begun() != seq:
            return limit
        return limit - (monotonic() - worker.board.begun_at())

    def _check_soft(self, worker: _Worker, seq: int, limit: float) -> None:
        left = self._remaining(worker, seq, limit)
        if left is None:
            return
        if left > 0.001:
            self.loop.call_later(left, self._check_soft, worker, seq, limit)
            return
        worker.board.aim_soft_limit(seq)
        _signal(worker.pidfd, signal.SIGUSR1)

    def _check_hard(self, worker: _Worker, seq: int, limit: float) -> None:
        left = self._remaining(worker, seq, limit)
        if left is None:
            return
        if left > 0.001:
            self.loop.call_later(left, self._check_hard, worker, seq, limit)
            return
        worker.exceeded = (seq, limit)
        _signal(worker.pidfd, signal.SIGKILL)

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
                _signal(worker.pidfd, signal.SIGUSR2)
        returned = self._take_back_from(blocked)
        if returned:
            self.on_returned(returned)

    def take_back(self) -> list[int]:
        """Jobs not begun, of all children."""
        return self._take_back_from([worker for worker in self._workers.values() if worker.jobs])

    def _take_back_from(self, workers: list[_Worker]) -> list[int]:
        returned: list[int] = []
        asked = []
        for worker in workers:
            unsent, worker.out = worker.out, []
            for job in unsent:
                worker.drop(job.seq)
                returned.append(job.seq)
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

    # -- state and end
    def running(self) -> list[Running]:
        """What has begun, from the boards."""
        found = []
        for worker in self._workers.values():
            begun = worker.board.begun()
            if begun in worker.jobs:
                found.append(Running(begun, worker.board.begun_at()))
        return found

    def kill(self) -> None:
        """SIGKILL to all children; no replacements, no reports."""
        self._closed = True
        for worker in list(self._workers.values()):
            worker.jobs.clear()
            _signal(worker.pidfd, signal.SIGKILL)
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
        deadline = time.monotonic() + seconds
        for worker in list(self._workers.values()):
            while True:
                try:
                    pid, _ = os.waitpid(worker.pid, os.WNOHANG)
                except ChildProcessError:
                    pid = worker.pid
                if pid or time.monotonic() > deadline:
                    break
                time.sleep(0.002)
            if pid:
                self._workers.pop(worker.pid, None)
                with contextlib.suppress(Exception):
                    self.loop.remove(worker.pidfd)
                os.close(worker.pidfd)


def _signal(pidfd: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def _open_fds() -> set[int]:
    fds = {int(name) for name in os.listdir("/proc/self/fd")}
    return {fd for fd in fds if _is_open(fd)}


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
