"""Which resource is looked at next: keys with due times, never one key twice at the same moment.

Level-triggered: an event only says that a key is worth a pass; any number of them before the pass are one.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from taskyard_operator import metrics
from taskyard_operator.logs import ABOUT

log = logging.getLogger(__name__)

Reconcile = Callable[[str, str], Awaitable[float | None]]
"""One pass over (namespace, name): the seconds until the next one, or None to wait for an event."""

_LONGEST_SLEEP = 1.0
"""The loop beats at least this often, so that the liveness check can tell a stuck loop from an idle one."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What a pass is about."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(slots=True)
class _Entry:
    """``due`` None: nothing is planned. ``floor``: no pass begins before it, whoever asks."""

    due: float | None = None
    floor: float = 0.0
    failures: int = 0
    began: float | None = None

    @property
    def running(self) -> bool:
        return self.began is not None


class WorkQueue:
    """Runs passes, up to ``runners`` of each kind at once, until :meth:`stop`.

    Kinds have their own runners, so that queues of a broker that hangs do not hold up the pools. A pass that
    fails is repeated after ``first_delay`` seconds, doubled each time up to ``longest_delay``, with jitter;
    an event brings it forward, but not closer than ``first_delay`` to the failure. After a pass that went
    well the same key waits at least ``gap``. A pass that takes longer than ``pass_timeout`` is cancelled and
    counts as failed. All times are seconds of the running loop's clock.
    """

    def __init__(
        self,
        reconcilers: Mapping[str, Reconcile],
        *,
        runners: int = 16,
        gap: float = 0.1,
        first_delay: float = 1.0,
        longest_delay: float = 120.0,
        pass_timeout: float = 120.0,
    ) -> None:
        self._reconcilers = dict(reconcilers)
        self._runners = runners
        self._gap = gap
        self._first_delay, self._longest_delay = first_delay, longest_delay
        self._pass_timeout = pass_timeout
        self._entries: dict[Key, _Entry] = {}
        self._heaps: dict[str, list[tuple[float, Key]]] = {kind: [] for kind in self._reconcilers}
        self._running: dict[str, set[asyncio.Task[None]]] = {kind: set() for kind in self._reconcilers}
        self._wake = asyncio.Event()
        self._stopping = False
        self._beat: float | None = None

    def add(self, key: Key, after: float = 0.0) -> None:
        """Plan a pass in ``after`` seconds, or leave it where an earlier one is planned.

        While the key is being worked on, this plans another pass after the one under way.
        """
        if key.kind not in self._reconcilers:
            raise KeyError(f"nothing reconciles {key.kind}")
        entry = self._entries.setdefault(key, _Entry())
        due = max(self._now() + max(after, 0.0), entry.floor)
        if entry.due is None or due < entry.due:
            entry.due = due
            if not entry.running:
                heapq.heappush(self._heaps[key.kind], (due, key))
                self._wake.set()

    async def run(self) -> None:
        """Run passes until :meth:`stop`; then wait for those under way."""
        measured = float("-inf")
        while not self._stopping:
            self._beat = self._now()
            if self._beat >= measured + _LONGEST_SLEEP:
                measured = self._beat
                self._measure()
            next_due = min(self._start_due(kind) for kind in self._reconcilers)
            self._wake.clear()
            timeout = min(max(next_due - self._now(), 0.0), _LONGEST_SLEEP)
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                continue
        if under_way := self._tasks():
            await asyncio.wait(under_way)

    async def stop(self, grace: float) -> None:
        """Begin no more passes, give those under way ``grace`` seconds, then cancel them."""
        self._stopping = True
        self._wake.set()
        under_way = self._tasks()
        if under_way:
            _, late = await asyncio.wait(under_way, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                log.warning("stopped with %d passes cut short", len(late))
                await asyncio.wait(late)

    def depth(self) -> int:
        """How many keys are due and wait for a runner."""
        return len(self._waiting())

    def failing(self) -> list[Key]:
        """The keys whose last pass failed."""
        return sorted(key for key, entry in self._entries.items() if entry.failures)

    def oldest(self) -> float:
        """Seconds for which the key that waits longest has been due; 0 if none is."""
        return max(self._waiting(), default=0.0)

    def silence(self) -> float:
        """Seconds since the loop of :meth:`run` last came round; 0 before it began."""
        return 0.0 if self._beat is None else self._now() - self._beat

    def _start_due(self, kind: str) -> float:
        """Begin the passes that are due while runners are free; when to look again."""
        heap, running, now = self._heaps[kind], self._running[kind], self._now()
        while heap:
            due, key = heap[0]
            entry = self._entries.get(key)
            if entry is None or entry.running or (entry.due is not None and entry.due != due):
                heapq.heappop(heap)  # an older plan of a key that was brought forward
                continue
            if due > now:
                return due
            if entry.due is None:
                heapq.heappop(heap)
                if entry.floor <= now:
                    del self._entries[key]  # nothing happened since its last pass: forget it
                continue
            if len(running) >= self._runners:
                return float("inf")  # the end of a pass wakes the loop
            heapq.heappop(heap)
            entry.due, entry.began = None, now
            task = asyncio.create_task(self._pass(key, entry, due), name=str(key))
            running.add(task)
            task.add_done_callback(running.discard)
        return float("inf")

    async def _pass(self, key: Key, entry: _Entry, due: float) -> None:
        began = self._now()
        again: float | None
        about = {"kind": key.kind, "namespace": key.namespace, "object": key.name}
        ABOUT.set(about)
        try:
            async with asyncio.timeout(self._pass_timeout):
                again = await self._reconcilers[key.kind](key.namespace, key.name)
        except (Exception, asyncio.CancelledError) as problem:
            if self._stopping:
                return
            # A cancellation that is not ours is a failure like others: the runner must not die of it.
            entry.failures += 1
            again = self._backoff(entry.failures)
            self._tell(entry.failures, problem, again)
        else:
            entry.failures = 0
        finally:
            about.clear()  # tasks that the pass began and that go on (a poll) are about more than its key
            entry.began = None
            now = self._now()
            result = "error" if entry.failures else "ok"
            metrics.RECONCILES.inc(key.kind, result)
            metrics.RECONCILE_SECONDS.observe(now - began, key.kind)
            metrics.REACTION_SECONDS.observe(now - due, key.kind)
            self._wake.set()
        entry.floor = now + (self._first_delay if entry.failures else self._gap)
        planned = [entry.due] if entry.due is not None else []
        if again is not None:
            planned.append(now + max(again, 0.0))
        entry.due = max(min(planned), entry.floor) if planned else None
        # Without a plan the entry only stays until its floor is over.
        heapq.heappush(self._heaps[key.kind], (entry.floor if entry.due is None else entry.due, key))

    def _backoff(self, failures: int) -> float:
        delay = min(self._first_delay * 2.0 ** min(failures - 1, 30), self._longest_delay)
        return delay * random.uniform(0.75, 1.25)

    @staticmethod
    def _tell(failures: int, problem: BaseException, again: float) -> None:
        what = f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
        expected = hasattr(problem, "reason")  # an answer of the API server or of a broker
        log.log(
            logging.INFO if expected and failures == 1 else logging.WARNING,
            "pass failed (%d in a row), next in %.1f s: %s",
            failures,
            again,
            " ".join(what.split()),
            exc_info=problem if failures == 1 and not expected else None,
        )

    def _tasks(self) -> set[asyncio.Task[None]]:
        return {task for tasks in self._running.values() for task in tasks}

    def _waiting(self) -> list[float]:
        """For how long each key that could run has been waiting for a runner."""
        now = self._now()
        return [
            now - entry.due
            for entry in self._entries.values()
            if entry.due is not None and not entry.running and entry.due <= now
        ]

    def _measure(self) -> None:
        waiting = self._waiting()
        metrics.QUEUE_DEPTH.set(len(waiting))
        metrics.QUEUE_OLDEST_SECONDS.set(max(waiting, default=0.0))
        metrics.QUEUE_RUNNING.set(len(self._tasks()))
        metrics.QUEUE_FAILING.set(sum(1 for entry in self._entries.values() if entry.failures))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
