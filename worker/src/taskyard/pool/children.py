"""Children: the processes of a pool, from their birth to their end, and how many there are."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from abc import abstractmethod
from time import monotonic
from typing import TYPE_CHECKING

from taskyard.pool.birth import Cradle
from taskyard.pool.pool import Pool
from taskyard.signals import worker_before_create_process

if TYPE_CHECKING:
    from collections.abc import Collection

    from taskyard.loop import Loop
    from taskyard.pool.pace import Pace
    from taskyard.pool.process import ChildProcess

logger = logging.getLogger(__name__)

#: A new interpreter must have imported the app within this, seconds.
_IMPORT_SECONDS = 60.0


class Children(Pool):
    """As many as there should be; what they say and what they hold is the business of the pool."""

    #: Replacements are made as soon as a child is to end, not when it has ended.
    _replace_early = False

    def __init__(
        self, cradle: Cradle, processes: int, *, pace: Pace, max_tasks: int = 0, alive_timeout: float = 4.0
    ) -> None:
        self._cradle = cradle
        self._processes = processes
        self._pace = pace
        self._max_tasks = max_tasks
        self._alive_timeout = alive_timeout
        self._workers: dict[int, ChildProcess] = {}
        self._loop: Loop | None = None
        self._closed = False

    # -- birth
    def start(self) -> None:
        """Make the children; call it before any thread or connection exists."""
        self._cradle.prepare()
        self._refill()

    def attach(self, loop: object) -> None:
        """Watch the children."""
        self._loop = loop  # type: ignore[assignment]
        for worker in self._workers.values():
            self._watch(worker)

    @property
    def loop(self) -> Loop:
        """The loop that watches the children."""
        assert self._loop is not None
        return self._loop

    @property
    def children(self) -> Collection[ChildProcess]:
        """The children."""
        return self._workers.values()

    @property
    def pids(self) -> list[int]:
        """The process ids of the children."""
        return list(self._workers)

    def _make(self) -> None:
        if worker_before_create_process:
            worker_before_create_process.send(sender=self)
        worker = self._cradle.child(self.fork_guard)
        self._workers[worker.pid] = worker
        if self._loop is not None:
            self._watch(worker)

    def _watch(self, worker: ChildProcess) -> None:
        self.loop.add_reader(worker.sock, self._readable, worker)
        self.loop.add_reader(worker.pidfd, self._ended, worker)
        worker.up_timer = self.loop.call_later(_IMPORT_SECONDS, self._overdue, worker, _IMPORT_SECONDS)

    def _overdue(self, worker: ChildProcess, seconds: float) -> None:
        if worker.up < 2 and worker.pid in self._workers:
            what = "worker_proc_alive_timeout" if worker.up else "importing the app takes too long"
            logger.error("Child process %s was not ready within %g s (%s)", worker.pid, seconds, what)
            worker.signal(signal.SIGKILL)

    def _risen(self, worker: ChildProcess) -> None:
        """An empty frame: first the app is loaded, then the child is ready."""
        worker.up += 1
        if worker.up_timer is not None:
            worker.up_timer.cancel()
        if worker.up == 1:
            seconds = self._alive_timeout
            worker.up_timer = self.loop.call_later(seconds, self._overdue, worker, seconds)

    @abstractmethod
    def _readable(self, worker: ChildProcess) -> None:
        """A child has said something."""

    @abstractmethod
    def _ended(self, worker: ChildProcess) -> None:
        """A child is gone."""

    @abstractmethod
    def _maybe_retire(self, worker: ChildProcess) -> None:
        """End a child that is to end, if it has nothing to do."""

    def _refill(self) -> None:
        """As many children as there should be."""
        alive = self._alive() if self._replace_early else len(self._workers)
        while not self._closed and alive < self._processes:
            self._make()
            alive += 1

    def _alive(self) -> int:
        """Children that are not about to end."""
        return sum(1 for worker in self._workers.values() if not worker.closing)

    # -- size
    def _resize(self, processes: int) -> None:
        """More children, or fewer: the idle ones end first, the others after their task."""
        self._processes = processes
        surplus = self._alive() - processes
        by_load = sorted(self._workers.values(), key=lambda worker: (len(worker.jobs), worker.born))
        for worker in [worker for worker in by_load if not worker.closing][: max(surplus, 0)]:
            worker.closing = True
            self._maybe_retire(worker)
        self._refill()

    def restart(self) -> None:
        """New children at once; the present ones end after the tasks they run."""
        old = [worker for worker in self._workers.values() if not worker.closing]
        for worker in old:
            worker.closing = True
        for _ in range(self._processes):
            self._make()
        for worker in old:
            self._maybe_retire(worker)

    # -- end
    def _bury(self, worker: ChildProcess) -> str:
        self.loop.remove(worker.pidfd)
        if worker.sock.fileno() >= 0:
            self.loop.remove(worker.sock)
            worker.sock.close()
        os.close(worker.pidfd)
        if worker.up_timer is not None:
            worker.up_timer.cancel()
        self._workers.pop(worker.pid, None)
        try:
            _, status = os.waitpid(worker.pid, 0)
        except ChildProcessError:
            return "exited prematurely"
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exitcode {code}"
        reason = f"exited prematurely: {how}"
        expected = worker.closing or self._closed or worker.doomed or worker.terminated
        logger.log(logging.DEBUG if expected else logging.ERROR, "Process %s %s", worker.pid, reason)
        return reason

    def kill(self) -> None:
        """SIGKILL to all children; no replacements, no reports."""
        self._closed = True
        for worker in list(self._workers.values()):
            worker.jobs.clear()
            worker.signal(signal.SIGKILL)
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
        deadline = monotonic() + seconds
        for worker in list(self._workers.values()):
            if worker.await_end(deadline):
                self._workers.pop(worker.pid, None)
                with contextlib.suppress(Exception):
                    self.loop.remove(worker.pidfd)
                os.close(worker.pidfd)
