"""Getting a task's result: waiting for it in threads and in coroutines, and being called when it is there."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from taskyard.result.joining import assert_will_not_block
from taskyard.result.states import READY_STATES

if TYPE_CHECKING:
    from taskyard.result.backend import Backend

R = TypeVar("R")


class Getting(Generic[R]):
    """Mixed into AsyncResult."""

    if TYPE_CHECKING:
        backend: Backend
        ignored: bool
        parent: Any
        _cache: dict[str, Any] | None

        maybe_throw: Callable[..., Any]

    _on_ready: Any = None

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[Any], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """Wait for the final state and return the result, or raise what the task raised.

        `timeout` is in seconds (errors.TimeoutError when it passes); `interval` are the seconds between two
        looks where the store cannot announce.  A failure of a parent is raised at once unless
        `follow_parents` is False.  Waiting inside a task is a RuntimeError unless `disable_sync_subtasks` is
        False.
        """
        if self.ignored:
            return None  # type: ignore[return-value]
        if disable_sync_subtasks:
            assert_will_not_block()
        each_interval = on_interval
        if follow_parents and propagate and self.parent is not None:
            self._raise_error_of_parents()

            def each_interval() -> None:
                self._raise_error_of_parents()
                if on_interval is not None:
                    on_interval()

        if self._cache:
            value: R = self.maybe_throw(propagate=propagate, callback=callback)
            return value
        try:
            final: R = self.backend.wait_for_pending(
                self,
                timeout=timeout,
                interval=interval,
                no_ack=no_ack,
                on_message=on_message,
                on_interval=each_interval,
                callback=callback,
                propagate=propagate,
            )
        except Exception:
            # A chord's own error says only that a part has failed: why, its parent knows.
            if each_interval is not on_interval and self._cache:
                self._raise_error_of_parents()
            raise
        return final

    wait = get

    async def aget(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  as get
        propagate: bool = True,
        interval: float = 0.5,
        follow_parents: bool = True,
    ) -> R:
        """The same as `get` for coroutines: other coroutines run while this one waits."""
        if self.ignored:
            return None  # type: ignore[return-value]
        if self._cache is None:
            from taskyard.result.awaiting import wait_for_result

            watched = [self, *self._parents()] if follow_parents and propagate else [self]
            await wait_for_result(self.backend, watched, timeout, interval)
            if self._cache is None:
                self._raise_error_of_parents()
        value: R = self.maybe_throw(propagate=propagate)
        return value

    def __await__(self) -> Generator[Any, None, R]:
        """`await result` is `await result.aget()`."""
        return self.aget().__await__()

    def then(
        self, callback: Callable[..., Any], on_error: Callable[..., Any] | None = None, weak: bool = False
    ) -> Any:
        """Call back with this result when it is known to be ready: at once, or when somebody waits for it."""
        self.backend.add_pending_result(self, weak=weak)
        return self.on_ready.then(callback, on_error)

    @property
    def on_ready(self) -> Any:
        """A promise of this result."""
        if self._on_ready is None:
            from vine import promise

            self._on_ready = promise(self._on_fulfilled)
            if self._cache is not None and self._cache["status"] in READY_STATES:
                self._on_ready(self)
        return self._on_ready

    @on_ready.setter
    def on_ready(self, promise: Any) -> None:
        self._on_ready = promise

    def _on_fulfilled(self, result: Any) -> Any:
        self.backend.remove_pending_result(self)
        return result

    def _raise_error_of_parents(self) -> None:
        for parent in reversed(self._parents()):
            parent.maybe_throw()

    def _parents(self) -> list[Any]:
        parents = []
        node: Any = self.parent
        while node is not None:
            parents.append(node)
            node = node.parent
        return parents
