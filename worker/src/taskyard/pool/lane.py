"""Lane: how a child runs its jobs, one after the other or side by side."""

from __future__ import annotations

import faulthandler
import logging
import resource
import signal
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from taskyard.execution.job import SKIPPED, Job, Outcome
from taskyard.execution.runner import Runner
from taskyard.pool.frames import FrameReader, pack_frame
from taskyard.pool.lanes import INTERRUPT, RUN

if TYPE_CHECKING:
    import socket

    from taskyard.app import App
    from taskyard.pool.birth import ChildSpec
    from taskyard.pool.board import Board

logger = logging.getLogger("taskyard.worker")


class Lane(ABC):
    """The child's side of a pool."""

    #: What the parent's frames hold.
    item: Any = Any

    def __init__(self, app: App, spec: ChildSpec, sock: socket.socket, board: Board) -> None:
        self.app = app
        self.spec = spec
        self.sock = sock
        self.board = board
        self.reader = FrameReader(self.item)

    def runner(self) -> Runner:
        """Something to run jobs with."""
        return Runner(self.app, self.spec.hostname, store=self.spec.store, progress=self.progress)

    def install_signals(self) -> None:
        """Handlers of this lane's own."""
        # A child that is stuck is asked to say where before it is killed.
        faulthandler.register(signal.SIGUSR2, all_threads=True)

    @abstractmethod
    def serve(self) -> None:
        """Run jobs until the parent closes the socket."""

    def close(self) -> None:  # noqa: B027  a process that ends needs nothing
        """Let go of threads, where the process lives on."""

    @abstractmethod
    def progress(self, outcome: Outcome) -> None:
        """Pass on that a job has begun; from wherever it runs."""

    def worn(self, outcome: Outcome) -> Outcome:
        """The outcome, marked if this process has grown too big."""
        limit = self.spec.max_memory
        if limit and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > limit:
            outcome.worn = True
        return outcome


class SideBySide(Lane):
    """Many jobs at the same time."""

    def __init__(self, app: App, spec: ChildSpec, sock: socket.socket, board: Board) -> None:
        super().__init__(app, spec, sock, board)
        self._answers: list[Outcome] = []
        self._unlimited: set[str] = set()

    @abstractmethod
    def begin(self, job: Job, hard: float | None, soft: float | None) -> None:
        """Start the job and return at once; limits are in seconds."""

    @abstractmethod
    def end(self, seq: int, *, softly: bool) -> None:
        """Interrupt the job as its soft limit does, or end it for good."""

    @abstractmethod
    def answer(self, outcome: Outcome) -> None:
        """Tell the parent what became of a job; in the thread that reads."""

    def receive(self, data: bytes) -> None:
        """What the parent has sent."""
        for frame in self.reader.feed(data):
            for kind, seq, *more in frame:
                if kind != RUN:
                    self.end(seq, softly=kind == INTERRUPT)
                elif self.board.begin(seq):
                    job, hard, soft = more
                    self.begin(Job(*job), hard, soft)
                else:
                    self.answer(Outcome(seq, SKIPPED, "", [], 0.0))

    def say_soft_limit(self, job: Job, limit: float) -> None:
        """As the parent says it for a process of one job."""
        logger.warning("Soft time limit (%ss) exceeded for %s[%s]", f"{limit:g}", job.name, job.id)

    def send(self) -> None:
        """All answers so far, in one frame."""
        if self._answers:
            answers, self._answers = self._answers, []
            self.sock.sendall(pack_frame(answers))

    def cannot_limit(self, job: Job, *limits: Any) -> None:
        """Say once for each task that nobody will end it."""
        if any(limits) and job.name not in self._unlimited:
            self._unlimited.add(job.name)
            logger.warning(
                "The time limits of task %s are not enforced: the %s pool cannot end a thread. "
                "Run it in a prefork pool, or make it an async def in an asyncio pool",
                job.name,
                self.spec.lane,
            )
