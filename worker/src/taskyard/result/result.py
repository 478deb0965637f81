"""AsyncResult: what a caller holds after sending a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from taskyard.errors import NotSupported, TimeoutError
from taskyard.result.states import EXCEPTION_STATES, FAILURE, PENDING, READY_STATES, REVOKED, SUCCESS

if TYPE_CHECKING:
    from taskyard.app import App

R = TypeVar("R")


class AsyncResult(Generic[R]):
    """The result of one task, by its id; costs nothing until it is asked."""

    __slots__ = ("_final", "app", "id", "parent", "task_name")

    def __init__(
        self, id: str, app: App, task_name: str | None = None, parent: AsyncResult[Any] | None = None
    ) -> None:
        self.id = id
        self.app = app
        self.task_name = task_name
        self.parent = parent
        self._final: dict[str, Any] | None = None

    @property
    def task_id(self) -> str:
        """The same as `id`."""
        return self.id

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        *,
        disable_sync_subtasks: bool = True,
        callback: Callable[[str, Any], Any] | None = None,
    ) -> R:
        """Wait for the final state and return the result, or raise what the task raised.

        `timeout` is in seconds (errors.TimeoutError when it passes).  `interval` is accepted for Celery's
        sake and not needed: nothing is polled.  Waiting inside a task is refused unless
        `disable_sync_subtasks` is False.
        """
        if disable_sync_subtasks:
            _refuse_inside_a_task()
        meta = self._final
        if meta is None:
            meta = self.app.backend.wait(self.id, timeout)
            if meta is None:
                raise TimeoutError(f"no result of {self.id} within {timeout} s")
            self._final = meta
        if propagate:
            self._raise_if_failed(meta)
        value: R = meta["result"]
        if callback is not None:
            callback(self.id, value)
        return value

    def wait(self, timeout: float | None = None, propagate: bool = True) -> R:
        """The same as `get`."""
        return self.get(timeout, propagate)

    def _raise_if_failed(self, meta: dict[str, Any]) -> None:
        if meta["status"] in (FAILURE, REVOKED):
            error = meta["result"]
            raise error if isinstance(error, BaseException) else RuntimeError(error)

    def _meta(self) -> dict[str, Any]:
        if self._final is not None:
            return self._final
        meta = self.app.backend.get_meta(self.id)
        if meta is None:
            return {"status": PENDING, "result": None}
        if meta["status"] in READY_STATES:
            self._final = meta
        return meta

    @property
    def state(self) -> str:
        """PENDING, STARTED, RETRY, SUCCESS, FAILURE, REVOKED or a state of the task's own."""
        return str(self._meta()["status"])

    status = state

    @property
    def result(self) -> Any:
        """What the task returned, or the exception."""
        return self._meta()["result"]

    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback of a failure, as text."""
        return self._meta().get("traceback")

    @property
    def date_done(self) -> str | None:
        """When the state became final, ISO 8601."""
        return self._meta().get("date_done")

    @property
    def children(self) -> list[AsyncResult[Any]] | None:
        """Results of the tasks that this one sent."""
        references = self._meta().get("children")
        if references is None:
            return None
        return [AsyncResult(reference[0][0], self.app) for reference in references]

    def ready(self) -> bool:
        """Whether the state is final."""
        return self.state in READY_STATES

    def successful(self) -> bool:
        """Whether the task succeeded."""
        return self.state == SUCCESS

    def failed(self) -> bool:
        """Whether the task failed."""
        return self.state == FAILURE

    def maybe_throw(self, propagate: bool = True) -> Any:
        """Raise the task's exception if the state is one of exceptions; else its result."""
        meta = self._meta()
        if propagate and meta["status"] in EXCEPTION_STATES:
            self._raise_if_failed(meta)
        return meta["result"]

    def forget(self) -> None:
        """Remove the result from the store."""
        self._final = None
        self.app.backend.forget(self.id)

    def as_tuple(self) -> list[Any]:
        """The reference as results list it: [[id, parent], children]."""
        return [[self.id, self.parent.as_tuple() if self.parent else None], None]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncResult) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<AsyncResult: {self.id}>"


def _refuse_inside_a_task() -> None:
    from taskyard.context import current_request

    request = current_request()
    if request is not None and not request.called_directly:
        raise NotSupported(
            "never wait for a result inside a task: it can block all workers; "
            "chain the tasks, or pass disable_sync_subtasks=False if you know better"
        )
