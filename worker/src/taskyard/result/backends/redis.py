"""Results in Redis: Celery's keys, announced by PUBLISH; a success is never overwritten."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.exceptions import WatchError

from taskyard.errors import BackendStoreError
from taskyard.result.announcements import Announcements
from taskyard.result.backend import seconds_of
from taskyard.result.key_value import KeyValueBackend
from taskyard.result.redis_chord import RedisChords
from taskyard.result.redis_connection import connection_pool, decodes_responses, more_connection_errors
from taskyard.result.states import FAILURE, SUCCESS

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.result.waiting import OnInterval, OnMessage

logger = logging.getLogger(__name__)

#: The most keys of one MGET.
_KEYS_A_CALL = 1000
#: Redis takes no longer strings.
_LONGEST_VALUE = 512 * 1024 * 1024


class RedisBackend(RedisChords, KeyValueBackend):
    """Safe to use from any thread and after a fork; nothing is held between two waits but a connection."""

    supports_autoexpire = True
    supports_native_join = True
    supports_result_compression = True
    supports_failure_expires = True
    takes_messages = True
    is_async = True
    connection_errors: tuple[type[Exception], ...] = (RedisConnectionError, RedisTimeoutError, OSError)

    def __init__(self, app: App, url: str | None = None, **options: Any) -> None:
        super().__init__(app, url, **options)
        own = app.conf.result_failure_expires
        self.failure_expires = self.expires if own is None else seconds_of(own)
        # The script that stores knows a success by how its JSON begins.
        self._scripted = self.serializer == "json" and not self.payload.compression
        self._policy = {
            **self.retry_policy,
            **(app.conf.result_backend_transport_options.get("retry_policy") or {}),
        }
        self.connection_errors += more_connection_errors(app.conf)
        self._announcements = Announcements(self)
        self._pending: dict[str, Any] = {}
        self._client: Any = None
        self._pid = 0

    def _compression(self, method: str | None) -> str | None:
        if method and decodes_responses(self.url or ""):
            logger.warning(
                "result_compression is ignored: with decode_responses in result_backend the store gives text"
            )
            return None
        return super()._compression(method)

    @property
    def client(self) -> Any:
        """redis-py's client of this process."""
        if self._pid != os.getpid():
            self._client = redis.Redis(connection_pool=connection_pool(self.url or "", self.app.conf))
            self._script = self._client.register_script(
                files("taskyard.result").joinpath("store.lua").read_bytes()
            )
            self._pid = os.getpid()
        return self._client

    def async_client(self) -> Any:
        """redis-py's client for the running event loop."""
        from redis.asyncio import Redis

        pool = connection_pool(self.url or "", self.app.conf, asynchronous=True)
        return Redis.from_pool(pool)

    def watcher(self) -> Any:
        """What waits for coroutines."""
        from taskyard.result.awaiting_redis import RedisWatcher

        return RedisWatcher(self)

    # -- keys and values
    def get(self, key: str) -> Any:
        """The bytes, or None."""
        return self.ensure(lambda: self.client.get(key))

    def mget(self, keys: list[str]) -> list[Any]:
        """The bytes of each key."""
        values: list[Any] = []
        for start in range(0, len(keys), _KEYS_A_CALL):
            some = keys[start : start + _KEYS_A_CALL]
            values += self.ensure(lambda some=some: self.client.mget(some))
        return values

    def set(self, key: str, value: bytes, expires: float | None = None) -> None:
        """Store and announce; a life of 0 is for ever."""
        if len(value) > _LONGEST_VALUE:
            raise BackendStoreError("value too large for Redis backend")
        life = int((self.expires if expires is None else expires) or 0)
        self.ensure(lambda: self._set(self.client.pipeline(), key, value, life))

    def _set(self, pipe: Any, key: str, value: bytes, life: int) -> None:
        pipe.set(key, value, ex=life or None)
        pipe.publish(key, value)
        pipe.execute()

    def _set_with_state(self, key: str, value: bytes, state: str) -> None:
        """Store a result; failures may have a life of their own."""
        self.set(key, value, self.failure_expires if state == FAILURE else None)

    def delete(self, key: str) -> None:
        """Remove."""
        self.ensure(lambda: self.client.delete(key))

    def incr(self, key: str) -> int:
        """Count up by one."""
        return int(self.client.incr(key))

    def expire(self, key: str, seconds: float | None) -> None:
        """Let a key live that long from now; 0 for ever."""
        if seconds:
            self.client.expire(key, int(seconds))
        else:
            self.client.persist(key)

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **options: Any,
    ) -> Any:
        """Read and write in one step, so that nothing comes between."""
        value = self.payload.encode(self.meta_of(task_id, result, state, traceback, request))
        if len(value) > _LONGEST_VALUE:
            raise BackendStoreError("value too large for Redis backend", state=state, task_id=task_id)
        key = self.get_key_for_task(task_id)
        life = int((self.failure_expires if state == FAILURE else self.expires) or 0)
        if self._scripted:
            self.client  # noqa: B018  the script belongs to it
            fence = getattr(request, "fence", 0)
            self.ensure(lambda: self._script(keys=[key], args=[life, life, value, fence]))
        else:
            self.ensure(lambda: self._set_unless_success(key, value, life))

    def _set_unless_success(self, key: str, value: bytes, life: int) -> None:
        with self.client.pipeline() as pipe:
            while True:
                try:
                    pipe.watch(key)
                    known = pipe.get(key)
                    if known and self.decode(known).get("status") == SUCCESS:
                        return
                    pipe.multi()
                    self._set(pipe, key, value, life)
                except WatchError:
                    continue
                return

    # -- the connection may be lost
    def ensure(self, action: Any) -> Any:
        """Run; on a lost connection again, as the retry policy says."""
        attempts = 0
        while True:
            try:
                return action()
            except self.connection_errors as error:
                attempts += 1
                if self.always_retry:
                    raise
                self.pause_after(error, attempts)

    def pause_after(self, error: Exception, attempts: int) -> None:
        """Wait before the next attempt, or raise the error if there were enough."""
        policy = self._policy
        most = policy.get("max_retries")
        if most is not None and attempts > most:
            raise error
        start, step = float(policy["interval_start"]), float(policy["interval_step"])
        pause = min(start + step * (attempts - 1), float(policy["interval_max"]))
        logger.warning("Connection to Redis lost: attempt %s of %s in %.1f s", attempts, most or "∞", pause)
        time.sleep(max(pause, 0.05))

    def exception_safe_to_retry(self, error: Exception) -> bool:
        """Lost connections."""
        return isinstance(error, self.connection_errors)

    # -- waiting
    def get_many(
        self,
        task_ids: Collection[str],
        timeout: float | None = None,
        interval: float | None = 0.5,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        on_interval: OnInterval | None = None,
        max_iterations: int | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """As the base, but told by Redis instead of looking; `interval` is only that of on_interval."""
        if max_iterations is not None:
            yield from super().get_many(
                task_ids, timeout, interval, no_ack, on_message, on_interval, max_iterations
            )
            return
        pause = 0.5 if interval is None else interval
        yield from self._announcements.wait(set(task_ids), timeout, pause, on_message, on_interval)

    def add_pending_result(self, result: Any, weak: bool = False) -> Any:
        """Whoever waits in this process listens for this result too."""
        results = getattr(result, "results", None)
        if results is not None:
            for each in results:
                self.add_pending_result(each, weak)
        elif result._cache is None:
            self._pending.setdefault(result.id, _members(weak)).add(result)
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """No callback is wanted any more."""
        if self._pending:
            self._pending.pop(result.id, None)
        return result

    def pending_ids(self) -> Collection[str]:
        """Ids of which somebody wants to hear."""
        return list(self._pending)

    def tell_pending(self, task_id: str, meta: dict[str, Any]) -> None:
        """A final result has come."""
        if self._pending:
            for result in list(self._pending.pop(task_id, ())):
                result._maybe_set_cache(meta)


def _members(weak: bool) -> Any:
    return WeakSet() if weak else set()


class SentinelBackend(RedisBackend):
    """Redis behind Sentinels: sentinel://host:26379/0;sentinel://other:26379/0, master_name in the
    transport options.
    """
