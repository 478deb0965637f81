"""The worker's side of results: stored in batches, without waiting, each batch answered before its messages
are settled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from taskyard.result.opening import OF_REDIS, refuse_unusable, scheme_of

if TYPE_CHECKING:
    from taskyard.result.chord_parts import Brought
    from taskyard.settings import Settings

#: (task id, JSON)
Result = tuple[str, bytes]
#: Results, what to call when they are stored, their fence, and the part of a chord that comes with them.
Batch = tuple[list[Result], Callable[[], None], int, "Brought | None"]
#: Sends the body of a chord whose last part was brought, then calls back.
Complete = Callable[["Brought", str, Callable[[], None]], None]


class ResultStore(Protocol):
    """Stores results in the background of the loop."""

    #: Given by the worker.
    complete: Complete | None

    def put(
        self,
        results: list[Result],
        stored: Callable[[], None],
        fence: int = 0,
        brought: Brought | None = None,
    ) -> None:
        """Store them, tell the chord, then call back; kept and tried again while the store is away.

        `fence` says which try they are of (in 10^13) and when its message came (unix milliseconds), negative
        for one that came again: they do not take the place of what a later delivery has stored. 0 is for no
        fence.
        """

    def flush(self) -> None:
        """Send what was put in this turn."""

    @property
    def pending(self) -> int:
        """Batches that are not stored yet."""

    def close(self) -> None:
        """Close the connection."""


class NoStore:
    """No result store is configured."""

    pending = 0
    complete: Complete | None = None

    def put(
        self,
        results: list[Result],
        stored: Callable[[], None],
        fence: int = 0,
        brought: Brought | None = None,
    ) -> None:
        """Nothing to keep."""
        stored()

    def flush(self) -> None:
        """Nothing to send."""

    def close(self) -> None:
        """Nothing to close."""


def open_store(settings: Settings, loop: Any) -> ResultStore:
    """The store that the settings name, if the worker's parent stores for its children there."""
    url = settings.effective_result_backend()
    if not isinstance(url, str):
        return NoStore()
    refuse_unusable(url, settings)
    if not stored_by_parent(settings):
        return NoStore()
    from taskyard.result.redis_store import RedisStore

    return RedisStore(url, settings, loop)


def stored_by_parent(settings: Settings) -> bool:
    """Whether children hand their results to the parent: on Redis, as JSON that its script can read."""
    url = settings.effective_result_backend()
    if not isinstance(url, str) or settings.result_serializer != "json" or settings.result_compression:
        return False
    return scheme_of(url) in OF_REDIS
