"""Joining the results of many tasks: waiting for all of them, and being called when all are there."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any
from weakref import proxy

from taskyard.errors import ImproperlyConfigured
from taskyard.result.joining import assert_will_not_block
from taskyard.result.states import PROPAGATE_STATES

if TYPE_CHECKING:
    from taskyard.result.backend import Backend

Callback = Callable[[str, Any], Any]


class SetJoining:
    """Mixed into ResultSet."""

    if TYPE_CHECKING:
        results: list[Any]

        @property
        def backend(self) -> Backend:
            """Where the results are kept."""

        @property
        def supports_native_join(self) -> bool | None:
            """Whether the results are awaited at the cost of one."""

    _on_ready: Any = None
    #: Fulfilled when all members are; made when somebody asks by `then`.
    _on_full: Any = None

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[Any], Any] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> Any:
        """All values in order, awaited together where the store can (`join_native`), else one by one."""
        join = self.join_native if self.supports_native_join else self.join
        return join(
            timeout=timeout,
            propagate=propagate,
            interval=interval,
            callback=callback,
            no_ack=no_ack,
            on_message=on_message,
            disable_sync_subtasks=disable_sync_subtasks,
            on_interval=on_interval,
        )

    def join(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[Any], Any] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> list[Any]:
        """All values in order, awaited one after the other within `timeout` seconds together.

        With a `callback(task_id, value)` the list is empty.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        if on_message is not None:
            raise ImproperlyConfigured("join takes no on_message; use join_native where the store has it")
        deadline = None if timeout is None else time.monotonic() + timeout
        values = []
        for result in self.results:
            value = result.get(
                timeout=None if deadline is None else max(deadline - time.monotonic(), 0.0),
                propagate=propagate,
                interval=interval,
                no_ack=no_ack,
                on_interval=on_interval,
                disable_sync_subtasks=disable_sync_subtasks,
            )
            if callback is not None:
                callback(result.id, value)
            else:
                values.append(value)
        return values

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Any], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """(id, stored result) of each as they become ready; for a nested group its results."""
        if self._on_full is not None:
            self._on_full.finalize()
        return self.backend.iter_native(
            self,
            timeout=timeout,
            interval=interval,
            no_ack=no_ack,
            on_message=on_message,
            on_interval=on_interval,
        )

    def join_native(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[Any], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> list[Any] | None:
        """As `join`, but awaited together; None with a callback."""
        if disable_sync_subtasks:
            assert_will_not_block()
        positions = {result.id: position for position, result in enumerate(self.results)}
        values: list[Any] = [None] * len(self.results)
        for task_id, meta in self.iter_native(timeout, interval, no_ack, on_message, on_interval):
            if isinstance(meta, list):
                value: Any = [
                    child.get(propagate=propagate, disable_sync_subtasks=disable_sync_subtasks)
                    for child in meta
                ]
            else:
                value = meta["result"]
                if propagate and meta["status"] in PROPAGATE_STATES:
                    raise value
            if callback is not None:
                callback(task_id, value)
            else:
                values[positions[task_id]] = value
        return None if callback is not None else values

    async def aget(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  as get
        propagate: bool = True,
        interval: float = 0.5,
    ) -> list[Any]:
        """All values in order, for coroutines."""
        from taskyard.result.awaiting import wait_for_results

        await wait_for_results(self.backend, self._leaves(), timeout, interval)
        return self._values(propagate)

    def __await__(self) -> Generator[Any, None, list[Any]]:
        """`await results` is `await results.aget()`."""
        return self.aget().__await__()

    def _leaves(self) -> list[Any]:
        leaves: list[Any] = []
        for result in self.results:
            leaves += result._leaves() if isinstance(result, SetJoining) else [result]
        return leaves

    def _values(self, propagate: bool) -> list[Any]:
        return [
            result._values(propagate)
            if isinstance(result, SetJoining)
            else result.maybe_throw(propagate=propagate)
            for result in self.results
        ]

    def then(
        self, callback: Callable[..., Any], on_error: Callable[..., Any] | None = None, weak: bool = False
    ) -> Any:
        """Call back with this set when all its results are known to be ready."""
        return self.on_ready.then(callback, on_error)

    @property
    def on_ready(self) -> Any:
        """A promise of all results."""
        if self._on_ready is None:
            from vine import barrier

            self._set_barrier(barrier(self.results))
        return self._on_ready

    def _set_barrier(self, barrier: Any) -> None:
        from vine import promise

        self._on_ready = promise(args=(proxy(self),))
        self._on_full = barrier
        barrier.then(promise(self._when_full))

    def _when_full(self, *results: Any) -> None:
        self._on_ready()
