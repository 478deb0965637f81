"""Waiting for results where the store cannot announce them: looking from time to time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

from taskyard.errors import ImproperlyConfigured, TimeoutError
from taskyard.result.states import READY_STATES
from taskyard.result.tuples import ResultBase

if TYPE_CHECKING:
    from taskyard.app import App

OnMessage = Callable[[Any], Any]
OnInterval = Callable[[], Any]


class Polling:
    """The waiting half of a result store."""

    app: App
    #: get_many() costs less than asking for each.
    supports_native_join = False

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """What is stored."""
        raise NotImplementedError

    def is_cached(self, task_id: str) -> bool:
        """Whether the final result would be answered from memory."""
        return False

    def get_metas(self, task_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """What is stored for each of many, without those of which nothing is stored."""
        return {task_id: self.get_task_meta(task_id) for task_id in task_ids}

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: OnInterval | None = None,
    ) -> dict[str, Any]:
        """The final result; TimeoutError after `timeout` seconds."""
        for _, meta in self.get_many([task_id], timeout, interval, no_ack, on_interval=on_interval):
            return meta
        raise TimeoutError(f"no result of {task_id}")

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
        """(id, final result) of each, as they come; TimeoutError after `timeout` seconds.

        With `max_iterations` it ends after as many looks, whatever is missing.
        """
        left = set(task_ids)
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.5 if interval is None else interval
        looks = 0
        while left:
            for task_id, meta in self.get_metas(left).items():
                if meta["status"] in READY_STATES:
                    left.discard(task_id)
                    if on_message is not None:
                        on_message(meta)
                    yield task_id, meta
            looks += 1
            if not left or (max_iterations and looks >= max_iterations):
                return
            if on_interval is not None:
                on_interval()
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                raise TimeoutError(f"The operation timed out: {len(left)} results are missing")
            time.sleep(pause if deadline is None else min(pause, deadline - now))

    def wait_for_pending(
        self,
        result: Any,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        on_interval: OnInterval | None = None,
        callback: Callable[[str, Any], Any] | None = None,
        propagate: bool = True,
    ) -> Any:
        """Wait for what a result object stands for; its value, or its exception raised."""
        if on_message is not None and not self.takes_messages:
            raise ImproperlyConfigured(f"{type(self).__name__} has no messages for on_message")
        meta: dict[str, Any] | None = None
        if self.is_cached(result.id):
            meta = self.get_task_meta(result.id)
        elif on_message is None:
            meta = self.wait_for(
                result.id, timeout=timeout, interval=interval, no_ack=no_ack, on_interval=on_interval
            )
        else:
            _, meta = next(
                self.get_many(
                    [result.id], timeout, interval, no_ack, on_message=on_message, on_interval=on_interval
                )
            )
        if not meta:
            return None  # a store of the user's own gave up
        result._maybe_set_cache(meta)
        return result.maybe_throw(propagate=propagate, callback=callback)

    #: Whether on_message gets what arrives.
    takes_messages = False

    def iter_native(
        self,
        result: Any,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        on_interval: OnInterval | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """(id, final result) of each result of a set; (id, results) of the sets within."""
        by_id: dict[str, Any] = {}
        for each in result.results:
            if isinstance(each, ResultBase) and hasattr(each, "results"):
                yield each.id, each.results  # type: ignore[attr-defined]
            else:
                by_id[each.id] = each
        for task_id, meta in self.get_many(
            by_id, timeout, interval, no_ack, on_message=on_message, on_interval=on_interval
        ):
            by_id[task_id]._maybe_set_cache(meta)
            yield task_id, meta

    def watcher(self) -> Any:
        """What waits for coroutines here, if not the one that looks from time to time."""
        return None

    def add_pending_result(self, result: Any, weak: bool = False) -> Any:
        """Somebody wants to hear of this result."""
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """Nobody wants to any more."""
        return result
