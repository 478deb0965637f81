"""The states that a task goes through, and who hears of its end: its chord, its chain, its errbacks."""

from __future__ import annotations

from typing import Any

from taskyard.errors import TaskRevokedError
from taskyard.result.states import FAILURE, RETRY, REVOKED, STARTED, SUCCESS


class Marking:
    """Mixed into Backend, whose `store_result` it calls."""

    def mark_as_started(self: Any, task_id: str, **meta: Any) -> Any:
        """The task has begun."""
        return self.store_result(task_id, meta, STARTED)

    def mark_as_done(
        self: Any,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = SUCCESS,
    ) -> None:
        """The task has succeeded; a chord that it belongs to hears of it."""
        if store_result and not (request is not None and request.ignore_result):
            self.store_result(task_id, result, state, request=request)
        if request is not None and request.chord:
            self.on_chord_part_return(request, state, result)

    def mark_as_failure(
        self: Any,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = FAILURE,
    ) -> None:
        """The task has failed: so have its chord and the rest of its chain; error callbacks are called."""
        if store_result:
            self.store_result(task_id, exc, state, traceback=traceback, request=request)
        if request is None:
            return
        if request.chord:
            self.on_chord_part_return(request, state, exc)
        self.fail_chain(request.chain, exc, traceback, store_result=store_result, state=state)
        if call_errbacks and request.errbacks:
            self.call_errbacks(request, exc, traceback)

    def mark_as_revoked(
        self: Any,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = REVOKED,
    ) -> None:
        """The task was revoked or has expired: neither its chord nor the rest of its chain waits for it."""
        error = TaskRevokedError(reason)
        if store_result:
            self.store_result(task_id, error, state, request=request)
        if request is None:
            return
        if request.chord:
            self.on_chord_part_return(request, state, error)
        self.fail_chain(request.chain, error, store_result=store_result, state=state)

    def mark_as_retry(
        self: Any,
        task_id: str,
        exc: BaseException | None,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        state: str = RETRY,
    ) -> Any:
        """The task will run again."""
        return self.store_result(task_id, exc, state, traceback=traceback, request=request)
