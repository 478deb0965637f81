"""Results for coroutines: one watcher for all that an event loop waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from taskyard.errors import TimeoutError
from taskyard.result.states import PROPAGATE_STATES, READY_STATES

if TYPE_CHECKING:
    from taskyard.result.backend import Backend

#: Seconds after which results are read, should an announcement have been lost with its connection.
_RECHECK_SECONDS = 10.0

#: Event loop -> store -> its watcher.
_watchers: WeakKeyDictionary[Any, dict[int, Watcher]] = WeakKeyDictionary()


async def wait_for_result(
    backend: Backend,
    watched: list[Any],
    timeout: float | None,  # noqa: ASYNC109
    interval: float,
) -> None:
    """Until the first of `watched` (a result and its parents) is ready, or any of them has failed."""
    deadline = None if timeout is None else time.monotonic() + timeout
    watcher = _watcher(backend)
    futures = {watcher.future(result.id, interval): result for result in watched if result._cache is None}
    try:
        pending = set(futures)
        while pending:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise TimeoutError(f"The operation timed out: no result of {watched[0].id}")
            for future in done:
                meta = future.result()
                futures[future]._maybe_set_cache(meta)
                if futures[future] is watched[0] or meta["status"] in PROPAGATE_STATES:
                    return
    finally:
        for future, result in futures.items():
            watcher.drop(result.id, future)


async def wait_for_results(
    backend: Backend,
    results: Iterable[Any],
    timeout: float | None,  # noqa: ASYNC109
    interval: float,
) -> None:
    """Until all are ready."""
    watcher = _watcher(backend)
    futures = {watcher.future(result.id, interval): result for result in results if result._cache is None}
    if not futures:
        return
    try:
        done, pending = await asyncio.wait(futures, timeout=timeout)
        for future in done:
            futures[future]._maybe_set_cache(future.result())
        if pending:
            raise TimeoutError(f"The operation timed out: {len(pending)} results are missing")
    finally:
        for future, result in futures.items():
            watcher.drop(result.id, future)


def _watcher(backend: Backend) -> Watcher:
    loop = asyncio.get_running_loop()
    own = _watchers.setdefault(loop, {})
    watcher = own.get(id(backend))
    if watcher is None or watcher.backend is not backend:
        watcher = own[id(backend)] = backend.watcher() or Watcher(backend)
    return watcher


class Watcher:
    """Looks from time to time for all results that are awaited, in a thread; ends when there are none."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._futures: dict[str, list[asyncio.Future[dict[str, Any]]]] = {}
        self._interval = 0.5
        self._task: asyncio.Task[None] | None = None

    def future(self, task_id: str, interval: float) -> asyncio.Future[dict[str, Any]]:
        """What will be the final result."""
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        waiting = self._futures.get(task_id)
        if waiting is None:
            self._futures[task_id] = [future]
            self.begun(task_id)
        else:
            waiting.append(future)
        self._interval = interval
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._watch())
            self._task.add_done_callback(self._ended)
        return future

    def drop(self, task_id: str, future: asyncio.Future[dict[str, Any]]) -> None:
        """Nobody waits for it any more."""
        future.cancel()
        waiting = self._futures.get(task_id)
        if waiting and future in waiting:
            waiting.remove(future)
            if not waiting:
                del self._futures[task_id]
                self.ended(task_id)

    def found(self, task_id: str, meta: dict[str, Any]) -> None:
        """A result has come."""
        if meta["status"] not in READY_STATES:
            return
        waiting = self._futures.pop(task_id, None)
        if waiting is None:
            return
        for future in waiting:
            if not future.done():
                future.set_result(dict(meta))
        self.ended(task_id)

    def begun(self, task_id: str) -> None:
        """Somebody waits for this result."""

    def ended(self, task_id: str) -> None:
        """Nobody waits for it any more."""

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        error = task.exception()
        assert error is not None
        for waiting in self._futures.values():
            for future in waiting:
                if not future.done():
                    future.set_exception(error)
        self._futures.clear()

    async def _watch(self) -> None:
        while self._futures:
            metas = await asyncio.to_thread(self.backend.get_metas, list(self._futures))
            for task_id, meta in metas.items():
                self.found(task_id, meta)
            if self._futures:
                await asyncio.sleep(self._interval)
