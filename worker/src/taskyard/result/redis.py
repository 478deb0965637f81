"""Results in Redis, the caller's side: one GET, then Celery's own announcements by PUBLISH."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from taskyard.result.meta import TASK_KEY_PREFIX, decode_meta
from taskyard.result.states import READY_STATES

if TYPE_CHECKING:
    from taskyard.settings import Settings

#: Seconds after which a waiter reads the result itself, should an announcement have been lost with its
#: connection.
_RECHECK_SECONDS = 10.0


class RedisBackend:
    """Reads and awaits results; safe to use from any thread and after a fork."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._url = url
        self._prefix = key_prefix(settings.result_backend_transport_options)
        self._local = threading.local()

    def get_meta(self, task_id: str) -> dict[str, Any] | None:
        """The decoded result, None while there is none."""
        raw = self._client().get(self._prefix + task_id)
        return None if raw is None else decode_meta(raw)

    def forget(self, task_id: str) -> None:
        """Remove the result."""
        self._client().delete(self._prefix + task_id)

    def wait(self, task_id: str, timeout: float | None) -> dict[str, Any] | None:
        """Subscribe, read once, then wait for the announcement; the connection is kept for the next wait."""
        import redis

        key = self._prefix + task_id
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            pubsub = self._pubsub()
            try:
                pubsub.subscribe(key)
                pubsub.get_message(timeout=_RECHECK_SECONDS)
                try:
                    return self._await_announcement(pubsub, task_id, deadline)
                finally:
                    pubsub.unsubscribe(key)
                    pubsub.get_message(timeout=_RECHECK_SECONDS)
            except redis.ConnectionError:
                self._local.__dict__.clear()
                if deadline is not None and time.monotonic() >= deadline:
                    raise
                time.sleep(0.1)

    def _await_announcement(self, pubsub: Any, task_id: str, deadline: float | None) -> dict[str, Any] | None:
        while True:
            meta = self.get_meta(task_id)
            if meta is not None and meta["status"] in READY_STATES:
                return meta
            recheck = time.monotonic() + _RECHECK_SECONDS
            while (now := time.monotonic()) < recheck:
                if deadline is not None and now >= deadline:
                    return None
                left = min(recheck, deadline or recheck) - now
                announced = pubsub.get_message(ignore_subscribe_messages=True, timeout=max(left, 0.001))
                if announced is None or announced["type"] != "message":
                    continue
                meta = decode_meta(announced["data"])
                if meta["status"] in READY_STATES and meta.get("task_id") == task_id:
                    return meta

    def _client(self) -> Any:
        state = self._local.__dict__
        if state.get("pid") != os.getpid():
            import redis

            state.clear()
            state["pid"] = os.getpid()
            state["client"] = redis.Redis.from_url(self._url, health_check_interval=25)
        return state["client"]

    def _pubsub(self) -> Any:
        client = self._client()
        state = self._local.__dict__
        if "pubsub" not in state:
            state["pubsub"] = client.pubsub()
        return state["pubsub"]


def key_prefix(transport_options: dict[str, Any]) -> str:
    """The prefix of result keys with Celery's `global_keyprefix` before it."""
    prefix = str(transport_options.get("global_keyprefix") or "")
    if prefix and prefix[-1] not in ":_-.":
        prefix += "_"
    return prefix + TASK_KEY_PREFIX
