"""AsyncioLane: one event loop in a child process; each `async def` task is a coroutine on it.

Other tasks run in threads beside the loop.  All steps of one job share one context, so that context
variables behave as in any coroutine.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar

from taskyard.errors import Reject, SoftTimeLimitExceeded
from taskyard.execution.coroutine import Interruptible
from taskyard.execution.job import SKIPPED, Job, Outcome
from taskyard.pool.frames import PIECE
from taskyard.pool.lane import SideBySide
from taskyard.pool.lanes import LIMIT_EXCEEDED, TERMINATED
from taskyard.pool.threads import MOST_THREADS
from taskyard.task.retrying import has_unsent, send_later, send_unsent

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.execution.attempt import Attempt
    from taskyard.execution.runner import Runner
    from taskyard.pool.birth import ChildSpec
    from taskyard.pool.board import Board

T = TypeVar("T")

#: How many coroutines of a process may wait for brokers and stores at the same time.
_STORE_THREADS = 16


class _Running:
    """A coroutine task that has begun."""

    __slots__ = ("begun", "body", "ended", "hard", "task")

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        #: There while the task's own code runs: only then may it be interrupted.
        self.body: Interruptible | None = None
        #: Whether the task's own code has been reached; what is ended before does not reach it.
        self.begun = False
        #: By what it was ended on the worker's account; "" if it was not.
        self.ended = ""
        self.hard = 0.0


class AsyncioLane(SideBySide):
    """Soft limits raise SoftTimeLimitExceeded where the coroutine waits, hard ones cancel it."""

    def __init__(self, app: App, spec: ChildSpec, sock: socket.socket, board: Board) -> None:
        super().__init__(app, spec, sock, board)
        self._runner = self.runner()
        self._threads = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="task")
        self._stores = ThreadPoolExecutor(_STORE_THREADS, thread_name_prefix="store")
        self._own = threading.local()
        self._running: dict[int, _Running] = {}
        self._kinds: dict[str, bool] = {}
        self._sending = False
        self._loop: asyncio.AbstractEventLoop

    def serve(self) -> None:
        """Run the loop until the parent closes the socket."""
        loop = self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.add_reader(self.sock, self._readable)
        loop.run_forever()

    def close(self) -> None:
        """What still runs is not waited for."""
        self._threads.shutdown(wait=False)
        self._stores.shutdown(wait=False)

    def _readable(self) -> None:
        try:
            # The socket blocks for the answers, which the parent always reads.
            data = self.sock.recv(PIECE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self.sock)
            self._loop.stop()
            return
        self.receive(data)

    # -- jobs
    def begin(self, job: Job, hard: float | None, soft: float | None) -> None:
        """A coroutine on the loop, or a thread."""
        context = copy_context()
        if not self._is_coroutine(job.name):
            self.cannot_limit(job, hard, soft)
            self._threads.submit(context.run, self._work, job).add_done_callback(self._thread_done)
            return
        task = self._loop.create_task(self._on_loop(context, job, hard, soft), context=context)
        self._running[job.seq] = _Running(task)

    def _is_coroutine(self, name: str) -> bool:
        kind = self._kinds.get(name)
        if kind is None:
            task = self.app.tasks.find(name)
            kind = self._kinds[name] = task is None or iscoroutinefunction(task.run)
        return kind

    def _thread_done(self, future: Future[Outcome]) -> None:
        self._loop.call_soon_threadsafe(self.answer, future.result())

    def _work(self, job: Job) -> Outcome:
        runner: Runner | None = getattr(self._own, "runner", None)
        if runner is None:
            runner = self._own.runner = self.runner()
        return runner.run(job)

    async def _on_loop(self, context: Context, job: Job, hard: float | None, soft: float | None) -> None:
        running = self._running[job.seq]
        try:
            outcome = await self._outcome(context, running, job, hard, soft)
        except BaseException as error:
            if not running.ended:
                # Nothing of a task comes here: this is the worker's own failure, and the message's way out.
                self._loop.call_exception_handler({"message": "a job broke the lane", "exception": error})
                raise
            outcome = None
        finally:
            del self._running[job.seq]
        if running.ended or outcome is None:
            reason = "reached its hard time limit" if running.ended == LIMIT_EXCEEDED else "was terminated"
            outcome = Outcome(job.seq, SKIPPED, running.ended, [], running.hard, reason)
        self.answer(outcome)

    async def _outcome(
        self, context: Context, running: _Running, job: Job, hard: float | None, soft: float | None
    ) -> Outcome | None:
        runner = self._runner
        if runner.waits_to_begin(job):
            attempt = await self._aside(context, runner.begin, job)
        else:
            attempt = runner.begin(job)
        if isinstance(attempt, Outcome):
            return attempt
        if running.ended:
            runner.abandon(attempt)
            return None
        running.begun = True
        timers = []
        if soft is not None:
            timers.append(self._loop.call_later(soft, self._soft_limit, running, job, soft))
        if hard is not None:
            running.hard = hard
            timers.append(self._loop.call_later(hard, self._cancel, running, LIMIT_EXCEEDED))
        send_later(attempt.request)
        try:
            value = runner.call(attempt)
            if asyncio.iscoroutine(value):
                running.body = Interruptible(value)
                value = await running.body.run()
        except BaseException as error:
            running.body = None
            if running.ended:
                return None
            return await self._aside(context, self._fail, attempt, error)
        finally:
            running.body = None
            for timer in timers:
                timer.cancel()
        if running.ended:
            return None
        if has_unsent(attempt.request) or runner.waits_to_finish(attempt):
            return await self._aside(context, self._finish, attempt, value)
        return self._finish(attempt, value)

    def _finish(self, attempt: Attempt, value: Any) -> Outcome:
        try:
            send_unsent(attempt.request)
        except Reject as error:
            return self._runner.fail(attempt, error)
        return self._runner.finish(attempt, value)

    def _fail(self, attempt: Attempt, error: BaseException) -> Outcome:
        try:
            send_unsent(attempt.request)
        except Reject as rejected:
            error = rejected
        return self._runner.fail(attempt, error)

    async def _aside(self, context: Context, step: Callable[..., T], *arguments: Any) -> T:
        """A step that may wait for a broker or a store, in a thread but in the job's own context."""
        loop = self._loop
        done: asyncio.Future[T] = loop.create_future()

        def finished(future: Future[T]) -> None:
            loop.call_soon_threadsafe(done.set_result, future.result())

        def submit() -> None:
            self._stores.submit(context.run, step, *arguments).add_done_callback(finished)

        # Not before this coroutine waits: a context can be entered only once at a time.
        loop.call_soon(submit)
        return await done

    # -- interruption
    def _soft_limit(self, running: _Running, job: Job, limit: float) -> None:
        if running.body is not None:
            self.say_soft_limit(job, limit)
            self._interrupt(running)

    def _interrupt(self, running: _Running) -> None:
        if running.body is not None:
            running.body.interrupt(running.task, SoftTimeLimitExceeded())

    def _cancel(self, running: _Running, why: str) -> None:
        if running.body is not None:
            running.ended = why
            running.task.cancel()
        elif not running.begun:
            running.ended = why

    def end(self, seq: int, *, softly: bool) -> None:
        """Only coroutines can be ended."""
        running = self._running.get(seq)
        if running is not None:
            self._interrupt(running) if softly else self._cancel(running, TERMINATED)

    # -- answers
    def answer(self, outcome: Outcome) -> None:
        """Together with all others of this turn of the loop."""
        self._answers.append(self.worn(outcome))
        if not self._sending:
            self._sending = True
            self._loop.call_soon(self._send_turn)

    def _send_turn(self) -> None:
        self._sending = False
        self.send()

    def progress(self, outcome: Outcome) -> None:
        """From the loop or from a thread."""
        self._loop.call_soon_threadsafe(self.answer, outcome)
