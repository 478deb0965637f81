"""The worker's side of results: stored in batches, without waiting, each batch answered before its messages
are settled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from taskyard.result.opening import OF_REDIS, refuse_unusable, scheme_of

if TYPE_CHECKING:
    from taskyard.broker.delivery import Delivery
    from taskyard.broker.link import Link
    from taskyard.result.chord_parts import Brought
    from taskyard.settings import Settings

#: (task id, JSON)
Result = tuple[str, bytes]
#: Sends the body of a chord whose last part was brought, then calls back.
Complete = Callable[["Brought", str, Callable[[], None]], None]


class Batch(msgspec.Struct, eq=False):
    """Results of one task, and what depends on their being stored."""

    results: list[Result]
    #: Called when they are stored and the chord is told.
    stored: Callable[[], None]
    #: Which try they are of (in 10^13) and when its message came (unix milliseconds), negative for one that
    #: came again: they do not take the place of what a later delivery has stored.  0 is for no fence.
    fence: int = 0
    #: The part of a chord that comes with them.
    brought: Brought | None = None
    #: The message, if all that `stored` does is to acknowledge it: then that may be done in the same call.
    delivery: Delivery | None = None


class ResultStore(Protocol):
    """Stores results in the background of the loop."""

    #: Given by the worker.
    complete: Complete | None

    def put(self, batch: Batch) -> None:
        """Store the results, tell the chord, then call back; kept and tried again while the store is away."""

    def flush(self) -> None:
        """Send what was put in this turn."""

    def link_open(self, link: Link) -> None:
        """Results may go by the connection to the broker from now on."""

    def link_lost(self) -> None:
        """They may not; what was sent by it is not known to be stored."""

    @property
    def pending(self) -> int:
        """Batches that are not stored yet."""

    def close(self) -> None:
        """Close the connection."""


class NoStore:
    """No result store is configured."""

    pending = 0
    complete: Complete | None = None

    def put(self, batch: Batch) -> None:
        """Nothing to keep."""
        batch.stored()

    def flush(self) -> None:
        """Nothing to send."""

    def link_open(self, link: Link) -> None:
        """Nothing to send by it."""

    def link_lost(self) -> None:
        """Nothing was sent by it."""

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
    from taskyard.result.redis_plain import url_says_where

    if url_says_where(settings):
        from taskyard.result.joint_store import JointStore

        return JointStore(url, settings, loop)
    from taskyard.result.redis_store import RedisStore

    return RedisStore(url, settings, loop)


def stored_by_parent(settings: Settings) -> bool:
    """Whether children hand their results to the parent: on Redis, as JSON that its script can read."""
    url = settings.effective_result_backend()
    if not isinstance(url, str) or settings.result_serializer != "json" or settings.result_compression:
        return False
    return scheme_of(url) in OF_REDIS
