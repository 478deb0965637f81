"""SerialLane: one job after the other, in the main thread of a prefork child."""

from __future__ import annotations

import signal
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from taskyard.execution.job import SKIPPED, Job, Outcome
from taskyard.execution.soft_limit import install_soft_limit_signal
from taskyard.pool.frames import PIECE, frame_of, pack_item
from taskyard.pool.lane import Lane

if TYPE_CHECKING:
    import socket

    from taskyard.app import App
    from taskyard.pool.birth import ChildSpec
    from taskyard.pool.board import Board

#: A bundle of answers is sent when it is that old, seconds, or has that many.
_BUNDLE_SECONDS = 0.001
_BUNDLE_ITEMS = 32
#: Answers wait for company only while tasks take less than this, seconds.
_SHORT_SECONDS = 0.0005


class SerialLane(Lane):
    """Answers of short tasks travel together."""

    item = Job

    def __init__(self, app: App, spec: ChildSpec, sock: socket.socket, board: Board) -> None:
        super().__init__(app, spec, sock, board)
        self._runner = self.runner()
        self._oldest = 0.0
        #: Whoever answers: between two tasks, in the midst of one, in a thread of its own, or upon a signal.
        self._lock = threading.Lock()

    def install_signals(self) -> None:
        """SIGUSR1 is a soft limit, SIGUSR2 asks for answers that wait for company."""
        install_soft_limit_signal(self._runner.soft_limit, self.board.soft_target)
        signal.signal(signal.SIGUSR2, lambda number, frame: self._flush_from_signal())

    def serve(self) -> None:
        """Run jobs until the parent closes the socket."""
        jobs: deque[Job] = deque()
        begin, run = self.board.begin, self._runner.run
        while True:
            while not jobs:
                with self._lock:
                    self._send()
                data = self.sock.recv(PIECE)
                if not data:
                    return
                for frame in self.reader.feed(data):
                    jobs.extend(frame)
            job = jobs.popleft()
            if begin(job.seq):
                self._answer(run(job))
            else:
                self._answer(Outcome(job.seq, SKIPPED, "", [], 0.0))

    def _answer(self, outcome: Outcome) -> None:
        if self.spec.max_memory:
            outcome = self.worn(outcome)
        now = monotonic()
        with self._lock:
            if not self.board.holding:
                self._oldest = now
            self._hold(outcome)
            # Nobody knows how long the next task takes, so only a run of short ones may hold answers back.
            if (
                outcome.runtime > _SHORT_SECONDS
                or self.board.holding >= _BUNDLE_ITEMS
                or now - self._oldest > _BUNDLE_SECONDS
            ):
                self._send()

    def _hold(self, outcome: Outcome) -> None:
        """On the board, where the parent finds it if the next task ends this process."""
        answer = pack_item(outcome)
        if not self.board.hold(answer):
            self._send()
            if not self.board.hold(answer):
                self.sock.sendall(frame_of(1, answer))

    def progress(self, outcome: Outcome) -> None:
        """At once, with what waits."""
        with self._lock:
            self._hold(outcome)
            self._send()

    def _flush_from_signal(self) -> None:
        """Send what is held back because the task that runs now is not a short one."""
        if self._runner.soft_limit.running is not None and self._lock.acquire(blocking=False):
            try:
                self._send()
            finally:
                self._lock.release()

    def _send(self) -> None:
        if self.board.holding:
            self.sock.sendall(frame_of(*self.board.held()))
            self.board.let_go()
