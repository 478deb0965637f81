"""Settling: results first, then the message; both in batches, within the turn of the loop in which they
came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskyard.result.store import Result, ResultStore


class Settler:
    """Calls what settles a message as soon as its results are stored."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store

    def settle(self, results: list[Result], action: Callable[[], None]) -> None:
        """Store the results, if any, and only then act."""
        if results:
            self._store.put(results, action)
        else:
            action()

    def progress(self, results: list[Result]) -> None:
        """Store an intermediate state."""
        self._store.put(results, _nothing)

    def flush(self) -> None:
        """Send the results of this turn."""
        self._store.flush()

    @property
    def pending(self) -> int:
        """Batches of results that are not stored yet."""
        return self._store.pending

    def close(self) -> None:
        """Close the store."""
        self._store.close()


def _nothing() -> None:
    pass
