"""The child's side of a prefork pool: read frames, run their jobs, answer."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import socket
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.execution.job import SKIPPED, Job, Outcome
from taskyard.execution.runner import Runner, install_soft_limit_signal
from taskyard.pool.frames import FrameReader, pack_frame

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.pool.board import Board

logger = logging.getLogger(__name__)

#: A bundle of answers is sent when it is that old, seconds, or has that many.
_BUNDLE_SECONDS = 0.001
_BUNDLE_ITEMS = 32
#: Answers wait for company only while tasks take less than this, seconds.
_SHORT_SECONDS = 0.0005

_PR_SET_PDEATHSIG = 1


class Child:
    """Runs until its socket is closed."""

    def __init__(
        self, app: App, hostname: str, sock: socket.socket, board: Board, store: bool, max_memory: int
    ) -> None:
        self._sock = sock
        self._board = board
        self._max_memory = max_memory
        self._runner = Runner(app, hostname, store=store, progress=self._report)
        self._reader = FrameReader()
        self._answers: list[Outcome] = []
        self._oldest = 0.0

    def serve(self) -> None:
        """Run jobs until the parent closes the socket."""
        jobs: deque[Any] = deque()
        begin, run = self._board.begin, self._runner.run
        while True:
            while not jobs:
                self._send()
                data = self._sock.recv(1 << 18)
                if not data:
                    return
                for frame in self._reader.feed(data):
                    jobs.extend(frame)
            job = Job._make(jobs.popleft())
            if begin(job.seq):
                self._answer(run(job))
            else:
                self._answer(Outcome(job.seq, SKIPPED, "", [], 0.0))

    def _answer(self, outcome: Outcome) -> None:
        if self._max_memory and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > self._max_memory:
            outcome = outcome._replace(worn=True)
        answers = self._answers
        now = monotonic()
        if not answers:
            self._oldest = now
        answers.append(outcome)
        # Nobody knows how long the next task takes, so only a run of short ones may hold answers back.
        if (
            outcome.runtime > _SHORT_SECONDS
            or len(answers) >= _BUNDLE_ITEMS
            or now - self._oldest > _BUNDLE_SECONDS
        ):
            self._send()

    def _report(self, outcome: Outcome) -> None:
        self._answers.append(outcome)
        self._send()

    def flush_from_signal(self) -> None:
        """Send what is held back because the task that runs now is not a short one."""
        if self._runner.soft_limit.running is not None:
            self._send()

    def _send(self) -> None:
        if self._answers:
            answers, self._answers = self._answers, []
            self._sock.sendall(pack_frame(answers))


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent is gone; checks that it is not gone already."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _ignore(number: int, frame: Any) -> None:
    """The parent decides when a child ends."""


def child_main(
    app: App, hostname: str, sock: socket.socket, board: Board, *, store: bool, max_memory: int, parent: int
) -> None:
    """The life of a child process after the fork; never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
            # Not SIG_IGN: programs that a task starts would inherit it and could not be terminated.
            signal.signal(number, _ignore)
        die_with_parent(parent)
        child = Child(app, hostname, sock, board, store, max_memory)
        install_soft_limit_signal(child._runner, board.soft_target)
        signal.signal(signal.SIGUSR2, lambda number, frame: child.flush_from_signal())
        child.serve()
        status = 0
    except (BrokenPipeError, ConnectionResetError):
        status = 0  # the parent is gone
    except BaseException:
        logger.exception("The child process ends by an error of its own")
    finally:
        os._exit(status)
