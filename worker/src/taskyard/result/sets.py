"""ResultSet: the results of many tasks as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from taskyard.result.result import AsyncResult
from taskyard.result.set_joining import SetJoining
from taskyard.result.states import PROPAGATE_STATES
from taskyard.result.tuples import ResultBase, app_of

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.result.backend import Backend

Callback = Callable[[str, Any], Any]


def _is_unread(result: Any) -> bool:
    """Whether it is a task's result that would look into its store."""
    if not isinstance(result, AsyncResult) or result._cache:
        return False
    return type(result)._get_task_meta is AsyncResult._get_task_meta


class ResultSet(SetJoining, ResultBase):
    """Results in order, whose members may still change."""

    _app: App | None = None

    def __init__(
        self, results: list[Any], app: App | None = None, ready_barrier: Any = None, **options: Any
    ) -> None:
        if app is not None:  # else that of the class, which is the app's own
            self._app = app
        self.results: list[Any] = results
        if ready_barrier is not None:
            self._set_barrier(ready_barrier)

    @property
    def app(self) -> App:
        """The app of the first member, or the current one."""
        if self._app is None:
            self._app = self.results[0].app if self.results else app_of(None)
        return self._app

    @app.setter
    def app(self, app: App | None) -> None:
        self._app = app

    @property
    def backend(self) -> Backend:
        """Where the results are kept."""
        return self.app.backend

    # -- members
    def add(self, result: Any) -> None:
        """Add a result unless it is a member."""
        if result in self.results:
            return
        self.results.append(result)
        if self._on_full is None:
            return
        if self._on_full.p.ready:
            # The barrier has fired: those who ask from now on wait for a new one.
            from vine import barrier

            self._set_barrier(barrier())
        self._on_full.add(result)
        self._on_full.finalize()

    def remove(self, result: Any) -> None:
        """Remove a result (or the one of that id); KeyError if it is no member."""
        try:
            self.results.remove(result)
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: Any) -> None:
        """Remove a result if it is a member."""
        if result in self.results:
            self.results.remove(result)

    def update(self, results: Any) -> None:
        """Add those that are no members."""
        self.results.extend(result for result in results if result not in self.results)

    def clear(self) -> None:
        """Remove all members."""
        self.results.clear()

    # -- state
    def successful(self) -> bool:
        """Whether all succeeded."""
        return all(result.successful() for result in self.results)

    def failed(self) -> bool:
        """Whether any failed."""
        return any(result.failed() for result in self.results)

    def waiting(self) -> bool:
        """Whether any is not ready."""
        return any(not result.ready() for result in self.results)

    def ready(self) -> bool:
        """Whether all are ready."""
        return all(result.ready() for result in self.results)

    def completed_count(self) -> int:
        """How many succeeded."""
        return sum(bool(result.successful()) for result in self._read_together())

    def _read_together(self) -> list[Any]:
        """The members without those that turn out not to be ready, read at once where the store can."""
        asked: dict[int, dict[str, list[Any]]] = {}
        unready: set[int] = set()
        for each in self.results:
            if _is_unread(each) and each.backend.supports_native_join:
                asked.setdefault(id(each.backend), {}).setdefault(each.id, []).append(each)
        for by_id in asked.values():
            backend = next(iter(by_id.values()))[0].backend
            metas = backend.get_metas(by_id)
            for task_id, alike in by_id.items():
                for each in alike:
                    each._maybe_set_cache(metas.get(task_id))
                    if not each._cache:
                        unready.add(id(each))
        return [each for each in self.results if id(each) not in unready] if unready else self.results

    def maybe_throw(self, callback: Callback | None = None, propagate: bool = True) -> None:
        """Raise the first exception there is."""
        for result in self.results if callback is not None else self._read_together():
            result.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    # -- orders
    def forget(self) -> None:
        """Remove all results from the store."""
        for result in self.results:
            result.forget()

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Revoke all tasks in one message."""
        self.app.control.revoke(
            [result.id for result in self.results],
            connection=connection,
            timeout=timeout,
            terminate=terminate,
            signal=signal,
            reply=wait,
        )

    def _iter_meta(self, **options: Any) -> Iterator[dict[str, Any]]:
        ids = {result.id for result in self.results}
        return (meta for _, meta in self.backend.get_many(ids, max_iterations=1, **options))

    def _failed_join_report(self) -> Iterator[Any]:
        return (result for result in self.results if result.state in PROPAGATE_STATES)

    @property
    def supports_native_join(self) -> bool | None:
        """Whether the results are awaited at the cost of one; None without results."""
        return self.results[0].supports_native_join if self.results else None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ResultSet):
            return other.results == self.results
        return NotImplemented

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(str(result.id) for result in self.results)}]>"
