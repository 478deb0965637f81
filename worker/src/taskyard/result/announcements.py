"""Waiting for what Redis announces: one subscription for all that a caller waits for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from taskyard.errors import TimeoutError
from taskyard.result.states import READY_STATES
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
                for task_id, meta in self._listen(left, deadline, interval, on_interval):
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
        self, left: set[str], deadline: float | None, interval: float, on_interval: OnInterval | None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Subscribe, read once, then wait; what is found must be taken from `left` by the caller."""
        backend = self._backend
        channels = {
            backend.get_key_for_task(task_id): task_id for task_id in left.union(backend.pending_ids())
        }
        pubsub = self._subscribe(list(channels))
        try:
            while left:
                for task_id, meta in backend.get_metas(channels.values()).items():
                    if meta["status"] in READY_STATES:
                        channels.pop(backend.get_key_for_task(task_id), None)
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
                    announced = pubsub.get_message(ignore_subscribe_messages=True, timeout=patience)
                    found = None if announced is None else self._read(announced, channels)
                    if found is not None:
                        backend.tell_pending(*found)
                        if found[0] in left:
                            yield found
                    elif on_interval is not None:
                        on_interval()
        finally:
            self._unsubscribe(pubsub)

    def _read(self, announced: Any, channels: dict[str, str]) -> tuple[str, dict[str, Any]] | None:
        if announced["type"] != "message":
            return None
        meta = self._backend.decode_result(announced["data"])
        channel = announced["channel"]
        task_id = channels.get(channel.decode() if isinstance(channel, bytes) else channel)
        return (task_id, meta) if task_id is not None and meta["status"] in READY_STATES else None

    def _subscribe(self, channels: list[str]) -> Any:
        state = self._local.__dict__
        client = self._backend.client
        if state.get("client") is not client:  # another process, or another connection
            state["client"] = client
            state["pubsub"] = client.pubsub()
        pubsub = state["pubsub"]
        try:
            pubsub.subscribe(*channels)
            unconfirmed = set(channels)
            deadline = time.monotonic() + _RECHECK_SECONDS
            while unconfirmed:
                answer = pubsub.get_message(timeout=_RECHECK_SECONDS)
                if answer is not None and answer["type"] == "subscribe":
                    channel = answer["channel"]
                    unconfirmed.discard(channel.decode() if isinstance(channel, bytes) else channel)
                elif time.monotonic() > deadline:
                    raise self._backend.connection_errors[0]("Redis does not confirm the subscription")
        except BaseException:
            state.clear()
            raise
        return pubsub

    def _unsubscribe(self, pubsub: Any) -> None:
        try:
            pubsub.unsubscribe()
        except self._backend.connection_errors as error:
            self._local.__dict__.clear()
            logger.debug("Redis was gone when the wait had ended: %s", error)
