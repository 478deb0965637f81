"""ThreadLane: each job in a thread of one child process."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING

from taskyard.pool.frames import PIECE
from taskyard.pool.lane import SideBySide

if TYPE_CHECKING:
    import socket

    from taskyard.app import App
    from taskyard.execution.job import Job, Outcome
    from taskyard.execution.runner import Runner
    from taskyard.pool.birth import ChildSpec
    from taskyard.pool.board import Board

#: The parent bounds how many run; this only keeps a mistake from eating the machine.
MOST_THREADS = 10_000


class ThreadLane(SideBySide):
    """Threads are made when no idle one is left; a thread cannot be ended from outside."""

    def __init__(self, app: App, spec: ChildSpec, sock: socket.socket, board: Board) -> None:
        super().__init__(app, spec, sock, board)
        self._threads = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="task")
        self._own = threading.local()
        self._sending = threading.Lock()

    def serve(self) -> None:
        """Read jobs in the main thread."""
        while data := self.sock.recv(PIECE):
            self.receive(data)

    def close(self) -> None:
        """What still runs is not waited for."""
        self._threads.shutdown(wait=False)

    def begin(self, job: Job, hard: float | None, soft: float | None) -> None:
        """Hand the job to a thread."""
        self.cannot_limit(job, hard, soft)
        # What a task sets in context variables is gone with it.
        self._threads.submit(copy_context().run, self._work, job)

    def _work(self, job: Job) -> None:
        self.answer(self._thread_runner().run(job))

    def _thread_runner(self) -> Runner:
        runner: Runner | None = getattr(self._own, "runner", None)
        if runner is None:
            runner = self._own.runner = self.runner()
        return runner

    def end(self, seq: int, *, softly: bool) -> None:
        """Not possible."""

    def answer(self, outcome: Outcome) -> None:
        """From any thread; the one that sends takes along what the others have."""
        self._answers.append(self.worn(outcome))
        with self._sending:
            self.send()

    progress = answer
