"""Results as messages to the sender's own reply queue (rpc://); nothing is stored."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from taskyard.errors import TimeoutError
from taskyard.result.awaiting import Watcher
from taskyard.result.backend import Backend
from taskyard.result.reply_queue import ReplyQueue
from taskyard.result.states import PENDING, READY_STATES

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.result.waiting import OnInterval, OnMessage

#: Seconds after which a waiter looks at its deadline again.
_TURN_SECONDS = 1.0


class RPCBackend(Backend):
    """Only the process that sent a task gets its result, and only once the queue lives."""

    supports_autoexpire = True
    supports_native_join = True
    persistent = False
    is_async = True
    takes_messages = True
    #: Tasks must not be sent before their reply queue exists.
    prepares_calls = True

    def __init__(self, app: App, url: str | None = None, **options: Any) -> None:
        super().__init__(app, url, **options)
        persistent = app.conf.result_persistent
        self.persistent = type(self).persistent if persistent is None else persistent
        self._queue = ReplyQueue(self)

    def as_uri(self, include_password: bool = True) -> str:
        """rpc://."""
        return "rpc://"

    # -- the caller's side
    @property
    def oid(self) -> str:
        """The name of the reply queue."""
        own: str = getattr(self.app, "thread_oid", None) or self.app.oid
        return own

    def binding_of(self, name: str) -> Any:
        """The reply queue as Celery declares it."""
        from kombu import Exchange, Queue

        return Queue(name, Exchange(""), name, durable=True, auto_delete=True, expires=self.expires or None)

    @property
    def binding(self) -> Any:
        """The reply queue of this thread."""
        return self.binding_of(self.oid)

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Let the reply queue exist; a reply to a queue that does not would be dropped."""
        self._queue.want(self.oid)

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """The last state that a worker told."""
        return self.get_metas([task_id]).get(task_id) or {"status": PENDING, "result": None}

    def get_metas(self, task_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """The same for many, after reading what has come."""
        latest = {task_id: self._queue.latest(task_id) for task_id in task_ids}
        if any(meta is None or meta["status"] not in READY_STATES for meta in latest.values()):
            self.read(self._queue.generation, 0.0)
            latest = {task_id: self._queue.latest(task_id) for task_id in task_ids}
        return {task_id: meta for task_id, meta in latest.items() if meta is not None}

    def read(self, seen: int, seconds: float) -> int:
        """Wait for news; returns the generation of what is known then."""
        if not self._queue.wanted:
            self._queue.want(self.oid)
        self._queue.read(seen, seconds)
        return self._queue.generation

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
        """As the base, but told by messages; `interval` is only that of on_interval."""
        left = set(task_ids)
        deadline = None if timeout is None else time.monotonic() + timeout
        turns = 0
        seen = self._queue.generation
        while left:
            for task_id in list(left):
                meta = self._queue.latest(task_id)
                if meta is not None and meta["status"] in READY_STATES:
                    left.discard(task_id)
                    if on_message is not None:
                        on_message(meta)
                    yield task_id, meta
            turns += 1
            if not left or (max_iterations and turns > max_iterations):
                return
            now = time.monotonic()
            if deadline is not None and now >= deadline and turns > 1:
                raise TimeoutError(f"The operation timed out: {len(left)} results are missing")
            patience = _TURN_SECONDS if deadline is None else min(_TURN_SECONDS, max(deadline - now, 0))
            if on_interval is not None:
                patience = min(patience, max(interval or 0.5, 0.01))
                on_interval()
            seen = self.read(seen, 0.0 if max_iterations else patience)

    def watcher(self) -> Any:
        """What waits for coroutines."""
        return _RPCWatcher(self)

    def forget(self, task_id: str) -> None:
        """Drop what was told; nothing is stored anywhere."""
        self._queue.forget(task_id)

    def task_result_exists(self, task_id: str) -> bool:
        """Whether a worker has told anything."""
        return bool(self.get_task_meta(task_id)["status"] != PENDING)

    def ensure_chords_allowed(self) -> None:
        """There are no chords: nobody but the caller can see results."""
        raise NotImplementedError(
            'The "rpc" result backend does not support chords! A group with a task after it is a chord, too. '
            "Use Redis, a database or Memcached as result_backend."
        )

    def reload_task_result(self, task_id: str) -> None:
        """Not possible: what was told is not told again."""
        raise NotImplementedError("reload_task_result is not supported by this backend")

    # -- the worker's side
    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **options: Any,
    ) -> Any:
        """Tell whoever waits for it."""
        if request is None:
            from taskyard.context import current_request

            request = current_request()
        reply_to = getattr(request, "reply_to", None)
        if not reply_to:
            return None
        from taskyard.client.router import Route
        from taskyard.message.protocol import TaskMessage

        result = self.encode_result(result, state)
        message = TaskMessage(
            {},
            {"correlation_id": getattr(request, "correlation_id", None) or task_id},
            self.payload.encode(self.meta_of(task_id, result, state, traceback, request)),
            self.payload.content_type,
            self.payload.content_encoding,
        )
        self.app.producer.publish(
            message,
            Route(None, "", reply_to, None),
            retry=True,
            retry_policy=self.retry_policy,
            delivery_mode=2 if self.persistent else 1,
        )
        return result


class _RPCWatcher(Watcher):
    """Reads the reply queue in a thread while coroutines wait."""

    async def _watch(self) -> None:
        import asyncio

        backend: Any = self.backend
        seen = -1
        while self._futures:
            for task_id, meta in backend.get_metas(list(self._futures)).items():
                self.found(task_id, meta)
            if self._futures:
                seen = await asyncio.to_thread(backend.read, seen, 0.2)
