"""Where limits are kept: what a store can do, and which one an app uses.

Redis (``redis://``, ``rediss://``, ``redis+socket://``) serves workers on many machines; an SQLite file
those of one machine. ``open_store`` chooses: the setting ``limits_url``, else the broker if it is one of the
two, else the result store if it is Redis.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, Protocol

from taskyard.errors import ImproperlyConfigured, TaskyardError

if TYPE_CHECKING:
    from taskyard.settings import Settings

ENVIRONMENT = "TASKYARD_LIMITS_URL"

#: Between a share and its holder.
SHARE_END = "\x1f"

_REDIS = ("redis", "rediss", "redis+socket", "unix")


class LimitStoreError(TaskyardError):
    """The store of the limits cannot be reached; nothing was admitted."""


class Claim(NamedTuple):
    """Who has a key, and whether its run is over."""

    owner: str
    done: bool


class Entry(NamedTuple):
    """A slot that was taken (token above 0), or a place in the waiting line."""

    token: int
    place: int


class Share(NamedTuple):
    """Who wants a slot of a key that is divided fairly, and how long (seconds) it counts as waiting after it
    was refused: longer than it takes to come back.
    """

    name: str
    patience: float

    def holder(self, holder: str) -> str:
        """The holder's name among those of all shares."""
        return f"{self.name}{SHARE_END}{holder}"


class Store(Protocol):
    """Every method is one atomic step; times are in seconds; all raise LimitStoreError."""

    def claim(self, key: str, owner: str, life: float) -> Claim:
        """Claim the key unless somebody has it or the owner's own run is done; who has it now."""

    def keep_claim(self, key: str, owner: str, life: float, *, done: bool = False) -> bool:
        """Prolong one's own claim or mark it as done; False if another owner has the key."""

    def drop_claim(self, key: str, owner: str) -> None:
        """Give up one's own claim."""

    def enter(
        self, key: str, limit: int, holder: str, waiter: str, lease: float, share: Share | None = None
    ) -> Entry:
        """Take one of `limit` slots or join the line as `waiter` ("" to stay out of it).

        With a share the holder is named by it (Share.holder).  A share that has its equal part of the slots
        gets no other one while another share waits that has less; the line is the share's own.
        """

    def renew(self, key: str, holder: str, lease: float) -> bool:
        """Prolong a slot's lease; False if it is lost."""

    def leave(self, key: str, holder: str) -> None:
        """Free a slot."""

    def leave_line(self, key: str, waiter: str, share: Share | None = None) -> None:
        """Wait no longer."""

    def take(self, key: str, interval: float, burst: int, taker: str, longest: float | None) -> float:
        """Take a token or book one: seconds until it is there, 0 if it is taken. More than `longest` (None:
        any) takes and books nothing.
        """


def limits_url(settings: Settings) -> str:
    """The URL of the store for an app's limits."""
    own = os.environ.get(ENVIRONMENT) or settings.limits_url
    if own:
        return own
    broker = settings.effective_broker_url()
    if _scheme(broker) in (*_REDIS, "sqlite"):
        return broker
    if _scheme(broker) == "memory":
        return "sqlite://:memory:"
    results = settings.effective_result_backend() or ""
    if _scheme(results) in _REDIS:
        return results
    raise ImproperlyConfigured(
        "limits need a Redis or an SQLite file that all workers share: set limits_url, for example to "
        "redis://host:6379/0"
    )


def open_store(url: str) -> Store:
    """The store at a URL; connects when it is first used."""
    scheme = _scheme(url)
    if scheme in _REDIS:
        from taskyard.limits.redis_store import RedisStore

        return RedisStore(url)
    if scheme == "sqlite":
        from taskyard.limits.sqlite_store import SqliteStore

        path = url.partition("://")[2]
        return SqliteStore(path if path == ":memory:" else f"{path.removeprefix('/')}-limits")
    raise ImproperlyConfigured(f"limits cannot be kept in {scheme}://: use a redis:// or sqlite:/// URL")


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()
