"""AsyncResult: what a caller holds after sending a task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from taskyard.errors import ImproperlyConfigured, TimeoutError
from taskyard.result.fields import Fields
from taskyard.result.getting import Getting
from taskyard.result.states import FAILURE, PROPAGATE_STATES, READY_STATES, SUCCESS
from taskyard.result.tree import Tree
from taskyard.result.tuples import ResultBase, app_of, result_from_tuple

if TYPE_CHECKING:
    from types import TracebackType

    from taskyard.app import App
    from taskyard.result.backend import Backend

R = TypeVar("R")


class AsyncResult(Getting[R], Fields, Tree, ResultBase, Generic[R]):
    """The result of one task, by its id; costs nothing until it is asked.

    `app` is the current app if it is not given; `backend` the app's.
    """

    TimeoutError = TimeoutError

    _app: App | None = None
    _backend: Backend | None = None
    #: The stored result, once its state is final.
    _cache: dict[str, Any] | None = None
    #: True: nothing is stored for this task, and get() returns None at once.
    ignored = False
    task_name: str | None = None

    def __init__(
        self,
        id: str,
        backend: Backend | None = None,
        task_name: str | None = None,
        app: App | None = None,
        parent: ResultBase | None = None,
    ) -> None:
        if id is None:
            raise ValueError("AsyncResult needs a task id, not None")
        self.id = id
        if backend is not None:
            self._backend = backend
        if task_name is not None:
            self.task_name = task_name
        if app is not None:
            self._app = app
        if parent is not None:
            self.parent = parent

    @property
    def app(self) -> App:
        """The app that sent the task, or the current one."""
        if self._app is None:
            self._app = app_of(None)
        return self._app

    @app.setter
    def app(self, app: App) -> None:
        self._app = app

    @property
    def backend(self) -> Backend:
        """Where the result is kept."""
        if self._backend is None:
            self._backend = self.app.backend
        return self._backend

    @backend.setter
    def backend(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def task_id(self) -> str:
        """The same as `id`."""
        return self.id

    @task_id.setter
    def task_id(self, id: str) -> None:
        self.id = id

    # -- orders
    def forget(self) -> None:
        """Remove this result, and those of its parents, from the store."""
        self._cache = None
        if self.parent is not None:
            self.parent.forget()
        self.backend.remove_pending_result(self)
        self.backend.forget(self.id)

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Let no worker begin this task; `terminate` ends it with `signal` (TERM) where it runs.

        `wait` waits `timeout` seconds for the workers' replies.
        """
        self.app.control.revoke(
            self.id,
            connection=connection,
            terminate=terminate,
            signal=signal,
            reply=wait,
            timeout=timeout,
        )

    def revoke_by_stamped_headers(
        self,
        headers: dict[str, Any],
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Revoke every task that carries all these stamps."""
        self.app.control.revoke_by_stamped_headers(
            headers,
            connection=connection,
            terminate=terminate,
            signal=signal,
            reply=wait,
            timeout=timeout,
        )

    # -- state
    def exists(self) -> bool:
        """Whether anything is stored for this task; PENDING alone does not tell."""
        return self.backend.task_result_exists(self.id)

    def ready(self) -> bool:
        """Whether the state is final."""
        return self.state in READY_STATES

    def successful(self) -> bool:
        """Whether the task succeeded."""
        return bool(self.state == SUCCESS)

    def failed(self) -> bool:
        """Whether the task failed."""
        return bool(self.state == FAILURE)

    def throw(self, error: BaseException, traceback: TracebackType | None = None) -> None:
        """Raise the error here, and tell those who asked by `then`."""
        if self._on_ready is not None:
            self._on_ready.throw(error, traceback)
        if not isinstance(error, BaseException):
            error = RuntimeError(error)
        raise error.with_traceback(traceback) if traceback is not None else error

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None) -> Any:
        """Raise the task's exception if it failed or was revoked; else return its result."""
        meta = self._get_task_meta() if self._cache is None else self._cache
        if propagate and meta["status"] in PROPAGATE_STATES:
            self.throw(meta["result"], self._to_remote_traceback(meta.get("traceback")))
        if callback is not None:
            callback(self.id, meta["result"])
        return meta["result"]

    maybe_reraise = maybe_throw

    def _to_remote_traceback(self, text: str | None) -> TracebackType | None:
        if not text or not self.app.conf.get("task_remote_tracebacks"):
            return None
        try:
            from tblib import Traceback
        except ImportError:
            raise ImproperlyConfigured("task_remote_tracebacks needs: pip install taskyard[tblib]") from None
        traceback: TracebackType = Traceback.from_string(text).as_traceback()
        return traceback

    def _get_task_meta(self) -> dict[str, Any]:
        if self._cache is None:
            meta: dict[str, Any] = self._maybe_set_cache(self.backend.get_task_meta(self.id))
            return meta
        return self._cache

    def _maybe_set_cache(self, meta: Any) -> Any:
        """Keep what will not change any more."""
        if meta and meta["status"] in READY_STATES:
            meta = self._set_cache(self.backend.meta_from_decoded(meta))
            if self._on_ready is not None:
                self._on_ready(self)
        return meta

    def _set_cache(self, meta: dict[str, Any]) -> dict[str, Any]:
        children = meta.get("children")
        if children:
            meta = {**meta, "children": [result_from_tuple(child, self.app) for child in children]}
        self._cache = meta
        return meta

    def _iter_meta(self, **options: Any) -> Iterator[dict[str, Any]]:
        return iter([self._get_task_meta()])

    @property
    def supports_native_join(self) -> bool:
        """Whether many results are awaited at the cost of one."""
        return self.backend.supports_native_join

    # -- identity
    def as_tuple(self) -> tuple[Any, Any]:
        """The reference as results list it: ((id, parent), None)."""
        parent = self.parent
        return (self.id, parent.as_tuple() if parent is not None else None), None

    def as_list(self) -> list[str]:
        """The ids of this result and its parents."""
        return [self.id, *(self.parent.as_list() if self.parent is not None else ())]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return bool(other.id == self.id)
        if isinstance(other, str):
            return other == self.id
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __copy__(self) -> AsyncResult[R]:
        return type(self)(self.id, self._backend, self.task_name, self._app, self.parent)

    def __reduce__(self) -> tuple[Any, ...]:
        # The app and its store stay here: the current app of the other side takes their place.
        return type(self), (self.id, None, self.task_name, None, self.parent)
