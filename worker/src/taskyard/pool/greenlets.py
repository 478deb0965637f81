"""Greenlet lanes: each job in a greenlet of gevent or eventlet.

The child is a new interpreter in which the library has replaced what blocks before anything else was
imported (taskyard.pool.spawned).
"""

from __future__ import annotations

import signal
from abc import abstractmethod
from contextlib import AbstractContextManager
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from taskyard import signals
from taskyard.errors import SoftTimeLimitExceeded
from taskyard.execution.job import SKIPPED, Job, Outcome
from taskyard.execution.runner import Runner
from taskyard.pool.frames import PIECE
from taskyard.pool.green_loop import EventletLoop, GeventLoop, GreenLoop
from taskyard.pool.lane import SideBySide
from taskyard.pool.lanes import LIMIT_EXCEEDED, TERMINATED

if TYPE_CHECKING:
    import socket

    from taskyard.app import App
    from taskyard.execution.attempt import Attempt
    from taskyard.pool.birth import ChildSpec
    from taskyard.pool.board import Board


class _Ended(BaseException):
    """Ends a greenlet from outside."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class _Running:
    """A job in its greenlet."""

    __slots__ = ("greenlet", "hard", "interruptible", "job", "soft", "timers")

    def __init__(self, job: Job, soft: float | None) -> None:
        self.job = job
        self.soft = soft
        self.greenlet: Any = None
        #: Only while the task's own code runs may an exception be thrown in.
        self.interruptible = False
        self.timers: list[Any] = []
        self.hard = 0.0


class _GreenRunner(Runner):
    """Runs jobs side by side, each of which may be interrupted while its own code runs."""

    def __init__(self, lane: GreenletLane, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lane = lane
        self._coroutines = lane.loop(_Ended)

    def call(self, attempt: Attempt) -> Any:
        """Call the task, and await what it returns."""
        running = self._lane.running(attempt.job.seq)
        running.interruptible = True
        try:
            value = super().call(attempt)
            if iscoroutine(value):
                value = self._coroutines.run(value)
            return value
        finally:
            running.interruptible = False

    def fail(self, attempt: Attempt, error: BaseException) -> Outcome:
        """What was ended from outside has not failed by itself: the parent sees to it."""
        if not isinstance(error, _Ended):
            return super().fail(attempt, error)
        self.abandon(attempt)
        reason = "reached its hard time limit" if error.why == LIMIT_EXCEEDED else "was terminated"
        seq = attempt.job.seq
        return Outcome(seq, SKIPPED, error.why, [], self._lane.running(seq).hard, reason)


class GreenletLane(SideBySide):
    """What gevent and eventlet have in common."""

    def __init__(self, app: App, spec: ChildSpec, sock: socket.socket, board: Board) -> None:
        super().__init__(app, spec, sock, board)
        self._running: dict[int, _Running] = {}
        self._runner = _GreenRunner(self, app, spec.hostname, store=spec.store, progress=self.progress)
        self._writing = self.lock()

    @abstractmethod
    def lock(self) -> AbstractContextManager[Any]:
        """A lock between greenlets."""

    @abstractmethod
    def loop(self, ends: type[BaseException]) -> GreenLoop:
        """Where coroutines run."""

    @abstractmethod
    def spawn(self, job: Job) -> Any:
        """A greenlet that runs `work(job)`."""

    @abstractmethod
    def later(self, seconds: float, greenlet: Any, error: BaseException, running: _Running) -> Any:
        """Throw the error into the greenlet after so long, if it may be interrupted then; a timer."""

    def say_if_soft(self, error: BaseException, running: _Running) -> None:
        """Log a soft limit before it is thrown."""
        if isinstance(error, SoftTimeLimitExceeded) and running.soft is not None:
            self.say_soft_limit(running.job, running.soft)

    @abstractmethod
    def cancel(self, timer: Any) -> None:
        """Forget a timer."""

    def install_signals(self) -> None:
        """The greenlet libraries have their own ideas of signals: none here."""
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)

    def serve(self) -> None:
        """Read jobs; the socket is the library's own."""
        while data := self.sock.recv(PIECE):
            self.receive(data)

    def begin(self, job: Job, hard: float | None, soft: float | None) -> None:
        """Hand the job to a new greenlet."""
        running = self._running[job.seq] = _Running(job, soft)
        running.greenlet = self.spawn(job)
        if soft is not None:
            running.timers.append(self.later(soft, running.greenlet, SoftTimeLimitExceeded(), running))
        if hard is not None:
            running.hard = hard
            running.timers.append(self.later(hard, running.greenlet, _Ended(LIMIT_EXCEEDED), running))

    def running(self, seq: int) -> _Running:
        """What is known of a job that runs."""
        return self._running[seq]

    def work(self, job: Job) -> None:
        """The life of a greenlet."""
        running = self._running[job.seq]
        try:
            outcome = self._runner.run(job)
        finally:
            del self._running[job.seq]
            for timer in running.timers:
                self.cancel(timer)
        self.answer(outcome)

    def end(self, seq: int, *, softly: bool) -> None:
        """Throw an exception into the greenlet."""
        running = self._running.get(seq)
        if running is not None:
            error = SoftTimeLimitExceeded() if softly else _Ended(TERMINATED)
            running.timers.append(self.later(0, running.greenlet, error, running))

    def answer(self, outcome: Outcome) -> None:
        """The greenlet that sends takes along what the others have."""
        self._answers.append(self.worn(outcome))
        with self._writing:
            self.send()

    progress = answer


class GeventLane(GreenletLane):
    """Greenlets of gevent."""

    def lock(self) -> AbstractContextManager[Any]:
        """gevent's."""
        from gevent.lock import RLock

        lock: AbstractContextManager[Any] = RLock()
        return lock

    def loop(self, ends: type[BaseException]) -> GreenLoop:
        """In a greenlet of its own."""
        return GeventLoop(ends)

    def spawn(self, job: Job) -> Any:
        """A Greenlet."""
        import gevent

        return gevent.spawn(self.work, job)

    def later(self, seconds: float, greenlet: Any, error: BaseException, running: _Running) -> Any:
        """By a timer greenlet."""
        import gevent

        def throw() -> None:
            if running.interruptible:
                self.say_if_soft(error, running)
                greenlet.kill(error, block=False)

        return gevent.spawn_later(seconds, throw)

    def cancel(self, timer: Any) -> None:
        """End the timer greenlet."""
        timer.kill(block=False)


class EventletLane(GreenletLane):
    """Green threads of eventlet."""

    def lock(self) -> AbstractContextManager[Any]:
        """eventlet's."""
        from eventlet.semaphore import Semaphore

        lock: AbstractContextManager[Any] = Semaphore()
        return lock

    def loop(self, ends: type[BaseException]) -> GreenLoop:
        """In a green thread of its own."""
        return EventletLoop(ends)

    def serve(self) -> None:
        """Between the signals that Celery sends around this pool."""
        signals.eventlet_pool_started.send(sender=self)
        super().serve()
        signals.eventlet_pool_preshutdown.send(sender=self)
        signals.eventlet_pool_postshutdown.send(sender=self)

    def spawn(self, job: Job) -> Any:
        """A GreenThread."""
        import eventlet

        if signals.eventlet_pool_apply:
            signals.eventlet_pool_apply.send(sender=self, target=self.work, args=(job,), kwargs={})
        return eventlet.spawn(self.work, job)

    def later(self, seconds: float, greenlet: Any, error: BaseException, running: _Running) -> Any:
        """By the hub's own timer."""
        from eventlet.hubs import get_hub

        def throw() -> None:
            if running.interruptible:
                self.say_if_soft(error, running)
                greenlet.throw(error)

        return get_hub().schedule_call_global(seconds, throw)

    def cancel(self, timer: Any) -> None:
        """The hub forgets it."""
        timer.cancel()
