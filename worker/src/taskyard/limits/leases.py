"""Limits: locks, slots, rates and once-only blocks for any code, in tasks or outside of them.

    limits = Limits("redis://localhost:6379/0")        # or Limits(app)

    with limits.lock("invoice:7", lease=30, wait=10) as lease:
        store(invoice, fencing_token=lease.token)

What is guaranteed:

- `lock` and `slot`: no more than one (or `limit`) holders at a time, as long as each can renew its lease. A
  thread renews it three times in its life, so the block may take as long as it likes. A holder that is
  killed frees its place after `lease` seconds at the latest. One that stands still for longer (a suspended
  machine, a long call that keeps Python's interpreter to itself) loses it without noticing at once: for
  what must never happen twice, hand `lease.token` on to the storage and let it refuse tokens below the
  highest that it has seen. Tokens ascend from one holder of a key to the next.
- `rate`: never more than `burst` at once and `count` in each `per` seconds after that, by the store's clock.
- `once`: the block is run by one caller within the window, unless it raises; then the next caller runs it.

There is one failure that waits for nobody: a Redis that loses its data (a failover to a replica that lags)
loses what was held with it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING

from taskyard.errors import TaskyardError
from taskyard.limits.keeper import Kept, keeper
from taskyard.limits.store import Store, limits_url, open_store
from taskyard.message.identity import new_id

if TYPE_CHECKING:
    from taskyard.app import App

#: Seconds between the attempts of a caller that waits for a slot: first and at most.
_POLL_FIRST, _POLL_LONGEST = 0.02, 0.5


class NotAdmitted(TaskyardError):  # noqa: N818
    """A limit is reached; `retry_after` is when it makes sense to ask again, in seconds."""

    def __init__(self, key: str, retry_after: float) -> None:
        super().__init__(key, retry_after)
        self.key = key
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"limit {self.key!r} is reached; again in {self.retry_after:.2f} s"


class LeaseLost(TaskyardError):  # noqa: N818
    """The lease could not be renewed: somebody else may hold the key now."""


class Lease:
    """A slot that is held, renewed until it is released."""

    def __init__(self, store: Store, key: str, holder: str, token: int, life: float) -> None:
        self.key = key
        #: Higher than that of every earlier holder of the key.
        self.token = token
        self._store = store
        self._holder = holder
        self._kept = Kept(f"lease of {key!r}", life, lambda: store.renew(key, holder, life))
        keeper.keep(self._kept)

    @property
    def lost(self) -> bool:
        """Whether a renewal has failed."""
        return self._kept.lost

    def ensure(self) -> None:
        """LeaseLost if the lease is lost: call it before what cannot be undone."""
        if self.lost:
            raise LeaseLost(f"the lease of {self.key!r} was lost")

    def release(self) -> None:
        """Free the slot."""
        keeper.let_go(self._kept)
        self._store.leave(self.key, self._holder)


class Limits:
    """Limits in one store, shared by everybody who names the same store and key."""

    def __init__(self, where: App | str) -> None:
        self.store = open_store(where if isinstance(where, str) else limits_url(where.conf))

    @contextmanager
    def lock(self, key: str, *, lease: float = 30.0, wait: float | None = 0.0) -> Iterator[Lease]:
        """Hold the key alone; NotAdmitted if that takes longer than `wait` seconds (None: no end)."""
        with self.slot(key, 1, lease=lease, wait=wait) as held:
            yield held

    @contextmanager
    def slot(self, key: str, limit: int, *, lease: float = 30.0, wait: float | None = 0.0) -> Iterator[Lease]:
        """Be one of `limit` holders of the key; NotAdmitted after `wait` seconds (None: no end)."""
        holder = new_id()
        deadline = None if wait is None else monotonic() + wait
        pause = _POLL_FIRST
        while not (entry := self.store.enter(key, limit, holder, "", lease)).token:
            left = _POLL_LONGEST if deadline is None else deadline - monotonic()
            if left <= 0:
                raise NotAdmitted(key, _POLL_LONGEST)
            sleep(min(left, pause * random.uniform(0.5, 1.0)))
            pause = min(pause * 1.5, _POLL_LONGEST)
        held = Lease(self.store, key, holder, entry.token, lease)
        try:
            yield held
        finally:
            held.release()

    def rate(
        self, key: str, count: float, *, per: float = 1.0, burst: int = 1, wait: float | None = 0.0
    ) -> None:
        """Return when it is the caller's turn; NotAdmitted at once if that is more than `wait` seconds away
        (None: no end). Turns are given out in the order of the calls.
        """
        taker = new_id()
        while pause := self.store.take(key, per / count, burst, taker, wait):
            if wait is not None and pause > wait:
                raise NotAdmitted(key, pause)
            sleep(pause)
            wait = None  # the turn is booked

    @contextmanager
    def once(self, key: str, window: float) -> Iterator[bool]:
        """True for the first caller within `window` seconds, who runs the block; False for the others."""
        owner = new_id()
        if self.store.claim(key, owner, window).owner != owner:
            yield False
            return
        kept = Kept(f"claim of {key!r}", window, lambda: self.store.keep_claim(key, owner, window))
        keeper.keep(kept)
        try:
            yield True
        except BaseException:
            keeper.let_go(kept)
            self.store.drop_claim(key, owner)
            raise
        keeper.let_go(kept)
        self.store.keep_claim(key, owner, window, done=True)
