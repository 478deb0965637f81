"""ChildProcess: one child as the parent sees it: its socket, its board, and the jobs it holds."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.execution.job import Outcome
from taskyard.pool.frames import FrameReader

if TYPE_CHECKING:
    from taskyard.execution.job import Job
    from taskyard.loop import Loop
    from taskyard.pool.board import Board


class ChildProcess:
    """What the parent knows of one child."""

    __slots__ = (
        "answered", "board", "born", "closing", "doomed", "given", "jobs", "last", "long", "out", "pid",
        "pidfd", "reader", "sock", "submitted_at", "taken_back", "terminated", "unsent", "up", "up_timer",
        "writing",
    )  # fmt: skip

    def __init__(self, pid: int, sock: socket.socket, board: Board, *, pidfd: int = -1) -> None:
        self.pid = pid
        #: Readable when the process has ended.
        self.pidfd = os.pidfd_open(pid) if pidfd < 0 else pidfd
        self.sock = sock
        self.board = board
        self.reader = FrameReader(Outcome)
        #: seq -> (name, is short), in the order in which the child runs them.
        self.jobs: dict[int, tuple[str, bool]] = {}
        #: How many of them are not known to be short.
        self.long = 0
        self.out: list[Any] = []
        self.unsent = bytearray()
        self.writing = False
        self.given = 0
        self.answered = 0
        self.last = 0
        self.born = monotonic()
        #: 0 as a newborn, 1 with the app loaded, 2 when it is ready for jobs.
        self.up = 0
        self.up_timer: Any = None
        #: It gets no more jobs and ends when it has none.
        self.closing = False
        #: seq -> hard limit for which the child is being killed.
        self.doomed: dict[int, float] = {}
        #: seq -> signal by which the job was ended on request.
        self.terminated: dict[int, int] = {}
        self.taken_back: set[int] = set()
        #: seq -> monotonic(), where many jobs run at the same time.
        self.submitted_at: dict[int, float] = {}

    def add(self, job: Job, short: bool, item: Any) -> None:
        """The job is the child's from now on; `item` is what it is told."""
        self.jobs[job.seq] = (job.name, short)
        self.long += not short
        self.out.append(item)
        self.given += 1
        self.last = job.seq

    def drop(self, seq: int) -> tuple[str, bool] | None:
        """The job is the child's no more; what was known of it."""
        known = self.jobs.pop(seq, None)
        if known is not None:
            self.long -= not known[1]
            if self.submitted_at:
                self.submitted_at.pop(seq, None)
        return known

    @property
    def ending(self) -> bool:
        """Whether it was told to end, by the end of its socket."""
        return self.closing and self.sock.fileno() < 0

    def write(self, loop: Loop) -> None:
        """Send what the socket takes; the rest when it is writable again."""
        unsent = self.unsent
        while unsent:
            try:
                sent = self.sock.send(unsent)
            except BlockingIOError:
                break
            except OSError:
                unsent.clear()  # the child is gone; its end is noticed by itself
                break
            del unsent[:sent]
        if bool(unsent) != self.writing:
            self.writing = bool(unsent)
            if self.writing:
                loop.add_writer(self.sock, self.write, loop)
            else:
                loop.remove_writer(self.sock)

    def signal(self, number: int) -> None:
        """Send a signal, if the process is still there."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def await_end(self, deadline: float) -> bool:
        """Whether the process ended before `deadline` (monotonic); the caller need not reap it then."""
        import time

        while True:
            try:
                pid, _ = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                pid = self.pid
            if pid or monotonic() > deadline:
                return bool(pid)
            time.sleep(0.002)
