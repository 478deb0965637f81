"""Waiting for what Redis announces: one subscription for all that a caller waits for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from taskyard.errors import TimeoutError
from taskyard.result.states import READY_STATES
from taskyard.result.subscriptions import Found, Subscription, Subscriptions
from taskyard.result.waiting import OnInterval, OnMessage

if TYPE_CHECKING:
    from taskyard.result.backends.redis import RedisBackend

logger = logging.getLogger(__name__)

#: Seconds after which a waiter reads the results itself, should an announcement have been lost with its
#: connection.
_RECHECK_SECONDS = 10.0


class Announcements:
    """Waits in the caller's thread; each thread keeps a connection of its own for the next wait."""

    def __init__(self, backend: RedisBackend) -> None:
        self._backend = backend
        self._subscriptions = Subscriptions(backend)
        self._local = threading.local()

    def wait(
        self,
        asked: set[str],
        timeout: float | None,
        interval: float,
        on_message: OnMessage | None,
        on_interval: OnInterval | None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """(id, final result) of each that was asked for; TimeoutError after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        left = set(asked)
        attempts = 0
        errors = self._backend.connection_errors
        while left:
            try:
                for task_id, meta in self._listen(left, deadline, interval, on_interval, apart=attempts > 0):
                    attempts = 0
                    left.discard(task_id)
                    if on_message is not None:
                        on_message(meta)
                    yield task_id, meta
            except errors as error:
                self._local.__dict__.clear()
                attempts += 1
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError(f"The operation timed out, Redis being away: {error}") from error
                self._backend.pause_after(error, attempts)

    def _listen(
        self,
        left: set[str],
        deadline: float | None,
        interval: float,
        on_interval: OnInterval | None,
        *,
        apart: bool,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Subscribe, read once, then wait; what is found must be taken from `left` by the caller."""
        backend = self._backend
        channels = {
            backend.get_key_for_task(task_id): task_id for task_id in left.union(backend.pending_ids())
        }
        subscription, found = self._open(list(channels), apart=apart)
        try:
            while left:
                for key, value in found:
                    meta = self._final(value)
                    if meta is not None:
                        task_id = channels.pop(key)
                        backend.tell_pending(task_id, meta)
                        if task_id in left:
                            yield task_id, meta
                recheck = time.monotonic() + _RECHECK_SECONDS
                while left and (now := time.monotonic()) < recheck:
                    if deadline is not None and now >= deadline:
                        raise TimeoutError(f"The operation timed out: {len(left)} results are missing")
                    patience = min(recheck, deadline or recheck) - now
                    if on_interval is not None:
                        patience = min(patience, max(interval, 0.01))
                    announced = subscription.message(patience)
                    key, value = announced or ("", None)
                    meta = self._final(value) if key in channels else None
                    if meta is not None:
                        task_id = channels.pop(key)
                        backend.tell_pending(task_id, meta)
                        if task_id in left:
                            yield task_id, meta
                    elif on_interval is not None:
                        on_interval()
                if left:
                    found = list(zip(channels, backend.mget(list(channels)), strict=True))
        finally:
            self._close(subscription)

    def _open(self, keys: list[str], *, apart: bool) -> tuple[Subscription, Found]:
        state = self._local.__dict__
        owner = self._subscriptions.owner
        try:
            if state.get("owner") != owner:  # another process, or another connection
                state["subscription"] = self._subscriptions.new()
                state["owner"] = owner
            subscription: Subscription = state["subscription"]
            return subscription, subscription.open(keys, apart=apart)
        except BaseException:
            state.clear()
            raise

    def _close(self, subscription: Subscription) -> None:
        try:
            subscription.close()
        except self._backend.connection_errors as error:
            self._local.__dict__.clear()
            logger.debug("Redis was gone when the wait had ended: %s", error)

    def _final(self, value: Any) -> dict[str, Any] | None:
        """The result of a value that was stored or announced, if its state is final."""
        if value is None:
            return None
        meta = self._backend.decode_result(value)
        return meta if meta["status"] in READY_STATES else None
