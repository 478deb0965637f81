"""Settling: results first, then the message; in batches, within the turn of the loop in which they came, and
both in one call where one Redis has both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from taskyard.result.meta import encode_meta
from taskyard.result.store import Batch

if TYPE_CHECKING:
    from taskyard.broker.link import Link
    from taskyard.result.store import Result, ResultStore
    from taskyard.result.store_thread import StoreThread, Verdict


class Settler:
    """Calls what settles a message as soon as its results are stored."""

    def __init__(self, store: ResultStore, thread: StoreThread | None = None) -> None:
        self._store = store
        self._thread = thread
        if thread is not None:
            store.complete = thread.complete

    def settle(self, batch: Batch) -> None:
        """Store results, tell a chord, and only then do what is to follow."""
        self._store.put(batch)

    def conclude(self, verdict: Verdict, action: Callable[[], None]) -> None:
        """Store what the worker itself decided about a task, tell chord and callbacks, and only then act."""
        if self._thread is not None:
            self._thread.put(verdict, action)
        elif verdict.store:
            meta = encode_meta(verdict.task_id, verdict.state, verdict.error)
            self._store.put(Batch([(verdict.task_id, meta)], action))
        else:
            action()

    def progress(self, results: list[Result], fence: int = 0) -> None:
        """Store an intermediate state."""
        self._store.put(Batch(results, _nothing, fence))

    def link_open(self, link: Link) -> None:
        """There is a connection to the broker, which may carry results too."""
        self._store.link_open(link)

    def link_lost(self) -> None:
        """It is gone."""
        self._store.link_lost()

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
