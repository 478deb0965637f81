"""Results for coroutines, told by Redis: one subscription that grows and shrinks with what is awaited."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from taskyard.result.awaiting import Watcher

if TYPE_CHECKING:
    from taskyard.result.backends.redis import RedisBackend

#: Seconds after which results are read, should an announcement have been lost with its connection.
_RECHECK_SECONDS = 10.0
#: Lost connections in a row after which the waiting ends with the error.
_MOST_ATTEMPTS = 20
_KEYS_A_CALL = 1000
_LINGER_SECONDS = 2.0


class RedisWatcher(Watcher):
    """Owns two connections of redis.asyncio while anything is awaited."""

    def __init__(self, backend: RedisBackend) -> None:
        super().__init__(backend)
        self._redis = backend
        self._news = asyncio.Event()
        #: Key -> task id: of what is, or is about to be, subscribed to.
        self._subscribed: dict[str, str] = {}
        self._new: dict[str, str] = {}
        self._old: set[str] = set()
        self._confirmed: set[str] = set()
        self._attempts = 0

    def begun(self, task_id: str) -> None:
        """Subscribe to it."""
        key = self._redis.get_key_for_task(task_id)
        self._old.discard(key)
        if key not in self._subscribed:
            self._new[key] = task_id
        else:
            self._confirmed.add(key)
        self._news.set()

    def ended(self, task_id: str) -> None:
        """Unsubscribe from it."""
        key = self._redis.get_key_for_task(task_id)
        if self._new.pop(key, None) is None:
            self._old.add(key)
        if not self._futures:
            self._news.set()

    async def _watch(self) -> None:
        while self._futures:
            client = self._redis.async_client()
            try:
                await self._listen(client)
            except self._redis.connection_errors:
                self._attempts += 1
                if self._attempts > _MOST_ATTEMPTS:
                    raise
                await asyncio.sleep(min(self._attempts * 0.1, 1.0))
            finally:
                with contextlib.suppress(Exception):
                    await client.aclose()

    async def _listen(self, client: Any) -> None:
        self._subscribed.clear()
        self._confirmed.clear()
        self._old.clear()
        self._new = {self._redis.get_key_for_task(task_id): task_id for task_id in self._futures}
        pubsub = client.pubsub()
        reader: asyncio.Task[None] | None = None
        try:
            checked = time.monotonic()
            while await self._wanted():
                await self._adjust(pubsub)
                if reader is None:
                    reader = asyncio.create_task(self._read(pubsub))
                    reader.add_done_callback(lambda _: self._news.set())
                elif reader.done():
                    await reader
                due = time.monotonic() > checked + _RECHECK_SECONDS
                if due or self._confirmed:
                    names = set(self._subscribed) if due else self._confirmed & self._subscribed.keys()
                    checked = time.monotonic() if due else checked
                    self._confirmed.clear()
                    await self._fetch(client, list(names))
                elif self._futures:
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self._news.wait(), _RECHECK_SECONDS)
        finally:
            if reader is not None:
                reader.cancel()
                await asyncio.wait({reader})
            with contextlib.suppress(Exception):
                await pubsub.aclose()

    async def _wanted(self) -> bool:
        """Whether anything is awaited; the connections are kept a little for what may come next."""
        if not self._futures:
            self._news.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), _LINGER_SECONDS)
        self._news.clear()
        return bool(self._futures)

    async def _adjust(self, pubsub: Any) -> None:
        """Subscribe to what is awaited since, unsubscribe from what no longer is."""
        if self._new:
            new, self._new = self._new, {}
            self._subscribed.update(new)
            await pubsub.subscribe(*new)
        if self._old:
            old = [key for key in self._old if self._subscribed.pop(key, None) is not None]
            self._old.clear()
            if old:
                await pubsub.unsubscribe(*old)

    async def _read(self, pubsub: Any) -> None:
        """Everything that comes by the subscription."""
        while True:
            message = await pubsub.get_message(timeout=_RECHECK_SECONDS)
            if message is None:
                continue
            self._attempts = 0
            channel = message["channel"]
            key = channel.decode() if isinstance(channel, bytes) else channel
            if message["type"] == "subscribe":
                self._confirmed.add(key)
                self._news.set()
            elif message["type"] == "message" and key in self._subscribed:
                self.found(self._subscribed[key], self._redis.decode_result(message["data"]))

    async def _fetch(self, client: Any, keys: list[str]) -> None:
        """What was stored before the subscription held."""
        for start in range(0, len(keys), _KEYS_A_CALL):
            some = keys[start : start + _KEYS_A_CALL]
            for key, value in zip(some, await client.mget(some), strict=True):
                if value is not None and key in self._subscribed:
                    self.found(self._subscribed[key], self._redis.decode_result(value))
