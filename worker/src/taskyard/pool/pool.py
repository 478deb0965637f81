"""Pool: what the worker asks of the place where tasks run."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from taskyard.errors import NotSupported
from taskyard.execution.job import Job, Outcome


class Running(NamedTuple):
    """A job that has begun."""

    seq: int
    #: monotonic() when it began.
    began: float
    #: The process it runs in; None for the worker's own.
    pid: int | None = None


class Limits(NamedTuple):
    """Seconds that a job may run; None for no limit."""

    hard: float | None = None
    soft: float | None = None


class LostJob(NamedTuple):
    """A job whose process ended before it answered."""

    seq: int
    reason: str
    #: The hard time limit that ended it, None if it ended by itself.
    exceeded: float | None
    #: The signal by which it was ended on request (terminate_job).
    terminated: int | None = None


class Pool(ABC):
    """Runs jobs; everything is called in the loop's thread, and so are the callbacks."""

    #: What it is called: prefork, threads, asyncio, gevent, eventlet or solo.
    kind = "custom"
    #: How many jobs can run at the same time.
    slots: int
    #: Held while a process is forked: other threads wait outside of critical sections.
    fork_guard: AbstractContextManager[Any] = nullcontext()
    #: Whether it ends jobs at their hard limit and interrupts them at their soft limit.
    enforces_limits = False
    #: Whether short jobs may wait behind each other in a slot.
    bundles = True
    #: Called with the outcomes of a turn.
    on_outcomes: Callable[[list[Outcome]], None]
    #: Called with jobs that will never answer.
    on_lost: Callable[[list[LostJob]], None]
    #: Called with jobs that were handed in and not begun, and are the worker's again.
    on_returned: Callable[[list[int]], None]
    #: Called with a job whose soft limit is over, and the limit.
    on_soft_limit: Callable[[int, float], None]

    @abstractmethod
    def start(self) -> None:
        """Create the processes or threads."""

    @abstractmethod
    def attach(self, loop: object) -> None:
        """Let the loop watch the processes or threads."""

    @abstractmethod
    def accepts(self, name: str) -> bool:
        """Whether a job of that task would be begun soon: nothing waits behind a long one."""

    @abstractmethod
    def submit(self, job: Job, limits: Limits) -> None:
        """Take a job; only after `accepts`."""

    @abstractmethod
    def flush(self) -> None:
        """Send what was submitted in this turn."""

    @abstractmethod
    def depth(self, name: str) -> int:
        """How many jobs of that task may be in one slot at once, including the one that runs."""

    @abstractmethod
    def take_back(self) -> list[int]:
        """Jobs that were submitted and have not begun; none of them will begin here after this returned."""

    @abstractmethod
    def running(self) -> list[Running]:
        """The jobs that have begun and not answered."""

    @property
    def pids(self) -> list[int]:
        """The processes that run jobs."""
        return [os.getpid()]

    def terminate_job(self, seq: int, number: int) -> bool:
        """End the job that runs as `seq` by a signal; it comes back by `on_lost` with that signal.

        SIGUSR1 interrupts it like its soft time limit, if it can.  False if this pool cannot.
        """
        return False

    def grow(self, count: int = 1) -> None:
        """Add slots; NotSupported if this pool cannot."""
        raise NotSupported(f"the {self.kind} pool has a fixed size")

    def shrink(self, count: int = 1) -> None:
        """Take slots away as soon as nothing runs in them; ValueError below 1."""
        raise NotSupported(f"the {self.kind} pool has a fixed size")

    def restart(self) -> None:
        """Replace the processes; what runs in them ends first."""
        raise NotSupported(f"the {self.kind} pool has nothing to restart")

    @abstractmethod
    def kill(self) -> None:
        """End all jobs at once."""

    @abstractmethod
    def close(self) -> None:
        """End the idle processes or threads."""
