"""Settling: results first, then the message; both in batches, within the turn of the loop in which they
came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from taskyard.result.meta import encode_meta

if TYPE_CHECKING:
    from taskyard.result.chord_parts import Brought
    from taskyard.result.store import Result, ResultStore
    from taskyard.result.store_thread import StoreThread, Verdict


class Settler:
    """Calls what settles a message as soon as its results are stored."""

    def __init__(self, store: ResultStore, thread: StoreThread | None = None) -> None:
        self._store = store
        self._thread = thread
        if thread is not None:
            store.complete = thread.complete

    def settle(
        self,
        results: list[Result],
        action: Callable[[], None],
        fence: int = 0,
        brought: Brought | None = None,
    ) -> None:
        """Store the results, if any, tell a chord, and only then act; `fence` as ResultStore.put has it."""
        if results or brought is not None:
            self._store.put(results, action, fence, brought)
        else:
            action()

    def conclude(self, verdict: Verdict, action: Callable[[], None]) -> None:
        """Store what the worker itself decided about a task, tell chord and callbacks, and only then act."""
        if self._thread is not None:
            self._thread.put(verdict, action)
        elif verdict.store:
            meta = encode_meta(verdict.task_id, verdict.state, verdict.error)
            self._store.put([(verdict.task_id, meta)], action)
        else:
            action()

    def progress(self, results: list[Result], fence: int = 0) -> None:
        """Store an intermediate state."""
        self._store.put(results, _nothing, fence)

    def flush(self) -> None:
        """Send the results of this turn."""
        self._store.flush()

    @property
    def pending(self) -> int:
        """Batches of results that are not stored yet."""
        return self._store.pending + (self._thread.pending if self._thread is not None else 0)

    def close(self) -> None:
        """Close the store."""
        self._store.close()
        if self._thread is not None:
            self._thread.close()


def _nothing() -> None:
    pass
