"""One slot in the worker's own process: a thread beside the loop, so that drain, leases and health go on
while it works.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING

from taskyard.execution.job import PROGRESS, Job, Outcome
from taskyard.execution.runner import Runner
from taskyard.pool.pace import Pace
from taskyard.pool.pool import Limits, Pool, Running
from taskyard.signals import worker_process_init

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.loop import Loop


class SoloPool(Pool):
    """Runs one job after the other; there are no time limits and nothing can be killed."""

    kind = "solo"
    slots = 1

    def __init__(self, app: App, hostname: str, *, store: bool, pace: Pace) -> None:
        self._pace = pace
        self._hostname = hostname
        self._runner = Runner(app, hostname, store=store, progress=self._report)
        self._waiting: SimpleQueue[Job | None] = SimpleQueue()
        self._names: dict[int, str] = {}
        self._forbidden = 0
        self._last = 0
        self._begun = 0
        self._lock = threading.Lock()
        self._running: Running | None = None
        self._loop: Loop | None = None
        self._thread = threading.Thread(target=self._serve, name="solo", daemon=True)

    def start(self) -> None:
        """Nothing to create before the loop exists."""

    def attach(self, loop: object) -> None:
        """Start the thread."""
        self._loop = loop  # type: ignore[assignment]
        self._thread.start()

    def _report(self, outcome: Outcome) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._collect, outcome)

    def _serve(self) -> None:
        if worker_process_init:
            worker_process_init.send(sender=self._hostname)
        while (job := self._waiting.get()) is not None:
            with self._lock:
                if job.seq <= self._forbidden:
                    continue
                self._begun = job.seq
                self._running = Running(job.seq, monotonic())
            outcome = self._runner.run(job)
            with self._lock:
                self._running = None
            self._report(outcome)

    def _collect(self, outcome: Outcome) -> None:
        name = self._names.get(outcome.seq)
        if outcome.disposition != PROGRESS:
            self._names.pop(outcome.seq, None)
            if name is not None:
                self._pace.observe(name, outcome.runtime)
        if name is not None:
            self.on_outcomes([outcome])

    def depth(self, name: str) -> int:
        """As the pace of that task allows."""
        return self._pace.depth(name)

    def accepts(self, name: str) -> bool:
        """While idle, or for short tasks behind a few others."""
        return len(self._names) < self._pace.depth(name)

    def submit(self, job: Job, limits: Limits) -> None:
        """Queue the job for the thread."""
        self._names[job.seq] = job.name
        self._last = job.seq
        self._waiting.put(job)

    def flush(self) -> None:
        """Nothing is buffered."""

    def take_back(self) -> list[int]:
        """What the thread has not begun."""
        with self._lock:
            self._forbidden = max(self._forbidden, self._last)
            begun = self._begun
        returned = [seq for seq in self._names if seq > begun]
        for seq in returned:
            del self._names[seq]
        return returned

    def running(self) -> list[Running]:
        """The job that the thread works on."""
        running = self._running
        return [running] if running is not None else []

    def kill(self) -> None:
        """A thread cannot be killed; its answer is not waited for."""
        self._names.clear()

    def close(self) -> None:
        """Let the thread end."""
        self._waiting.put(None)
