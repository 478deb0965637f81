"""EagerResult: the result of a task that ran here and now."""

from __future__ import annotations

from typing import Any

from taskyard.errors import TaskRevokedError
from taskyard.result.joining import assert_will_not_block
from taskyard.result.result import AsyncResult
from taskyard.result.states import PROPAGATE_STATES, REVOKED, SUCCESS


class EagerResult(AsyncResult[Any]):
    """A result that is known already; nothing is stored."""

    def __init__(
        self,
        id: str,
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(id, task_name=name)
        self._value = ret_value
        self._state = state
        self._traceback = traceback

    def get(self, timeout: float | None = None, propagate: bool = True, *args: Any, **options: Any) -> Any:
        """The value, or the task's exception raised."""
        if options.get("disable_sync_subtasks", True):
            assert_will_not_block()
        if self._state == SUCCESS:
            return self._value
        if self._state in PROPAGATE_STATES:
            if propagate:
                raise self._value if isinstance(self._value, Exception) else Exception(self._value)
            return self._value
        return None

    wait = get

    async def aget(self, *args: Any, **options: Any) -> Any:
        """The same for coroutines."""
        return self.get(*args, **{**options, "disable_sync_subtasks": False})

    def then(self, callback: Any, on_error: Any = None, weak: bool = False) -> Any:
        """Call back at once."""
        return self.on_ready.then(callback, on_error)

    @property  # type: ignore[misc]
    def on_ready(self) -> Any:
        """A promise that is kept."""
        if self._on_ready is None:
            from vine import promise

            self._on_ready = promise()
            self._on_ready(self)
        return self._on_ready

    @property
    def _cache(self) -> dict[str, Any]:  # type: ignore[override]
        return {
            "task_id": self.id,
            "result": self._value,
            "status": self._state,
            "traceback": self._traceback,
            "name": self.task_name,
        }

    def _get_task_meta(self) -> dict[str, Any]:
        return self._cache

    def ready(self) -> bool:
        """Always."""
        return True

    def exists(self) -> bool:
        """Always."""
        return True

    def forget(self) -> None:
        """Nothing is stored."""

    def revoke(self, *args: Any, **options: Any) -> None:
        """Make this a revoked result: `get` raises TaskRevokedError from now on."""
        self._state = REVOKED
        self._value = TaskRevokedError("revoked")
        self._traceback = None

    @property
    def supports_native_join(self) -> bool:
        """Never: there is nothing to wait for."""
        return False

    def __repr__(self) -> str:
        return f"<EagerResult: {self.id}>"

    def __copy__(self) -> EagerResult:
        return type(self)(self.id, self._value, self._state, self._traceback, self.task_name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, self._value, self._state, self._traceback, self.task_name)
