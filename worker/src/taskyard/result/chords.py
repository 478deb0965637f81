"""What a chord and a chain ask of every result store."""

from __future__ import annotations

import logging
import sys
import traceback as traceback_module
from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from taskyard.errors import ChordError, NotRegistered
from taskyard.message.identity import new_id
from taskyard.result.errbacks import StandInRequest, call_errbacks
from taskyard.result.groups import GroupResult
from taskyard.result.joining import allow_join_result
from taskyard.result.states import FAILURE, PROPAGATE_STATES

if TYPE_CHECKING:
    from taskyard.app import App

logger = logging.getLogger(__name__)


class ChordSupport:
    """The half of a result store that knows of workflows."""

    app: App

    def ensure_chords_allowed(self) -> None:
        """NotImplementedError where chords cannot be."""

    def apply_chord(self, header_result_args: tuple[Any, ...], body: Any, **options: Any) -> None:
        """A chord's header is about to be sent: see to it that its body will follow."""
        self.ensure_chords_allowed()
        self.fallback_chord_unlock(GroupResult(*header_result_args, app=self.app), body, **options)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **options: Any) -> None:
        """A task of a chord's header has ended."""

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """How many results the body waits for."""

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """The body waits for one more."""
        raise NotImplementedError(f"{type(self).__name__} does not support add_to_chord")

    def fallback_chord_unlock(
        self, header_result: Any, body: Any, countdown: float = 1, **options: Any
    ) -> None:
        """Let a task look from time to time whether the header is ready, on the body's own queue."""
        options["result"] = [result.as_tuple() for result in header_result]
        given = body.options
        try:
            body_type = body.type
        except (NotRegistered, KeyError):
            body_type = None
        queue = given.get("queue") or getattr(body_type, "queue", None)
        where: dict[str, Any] = {
            name: given[name]
            for name in ("exchange", "exchange_type", "routing_key", "headers")
            if given.get(name) is not None and name not in (given.get("stamped_headers") or ())
        }
        if queue is None and "exchange" not in where:
            queue = self.app.router.route(body["task"], None, None, None, None).queue
        if "exchange_type" in where:
            options["_chord_unlock_exchange_type"] = where["exchange_type"]  # for its retries
        priority = given.get("priority", getattr(body_type, "priority", None))
        self.app.tasks["celery.chord_unlock"].apply_async(
            (header_result.id, body), options, countdown=countdown, queue=queue, priority=priority, **where
        )

    def send_body(self, header: Any, callback: Any) -> None:
        """All of a header is ready: send the body with its results, or fail it."""
        join = header.join_native if header.supports_native_join else header.join
        try:
            with allow_join_result():
                values = join(timeout=self.app.conf.result_chord_join_timeout, propagate=True)
        except Exception as cause:
            culprit = next(header._failed_join_report(), None)
            self._body_failed(
                header,
                callback,
                f"Dependency {culprit.id} raised {cause!r}" if culprit else repr(cause),
                cause,
            )
            return
        try:
            callback.delay(values)
        except Exception as cause:
            self._body_failed(header, callback, f"Callback error: {cause!r}", cause)

    def _body_failed(self, header: Any, callback: Any, text: str, cause: Exception) -> None:
        logger.error("Chord %r raised: %s", header.id, text, exc_info=cause)
        error = ChordError(text)
        error.__cause__ = cause
        self.chord_error_from_stack(callback, error)

    def call_errbacks(self, request: Any, error: BaseException, traceback: Any = None) -> None:
        """Call the error callbacks of a request."""
        call_errbacks(self.app, request, error, traceback)

    def fail_chain(
        self,
        chain: Any,
        error: BaseException,
        traceback: Any = None,
        store_result: bool = True,
        state: str = FAILURE,
    ) -> None:
        """The steps after a failed one have failed too; their chords hear of it."""
        steps = deque(chain if isinstance(chain, (list, tuple)) else ())
        while steps:
            signature = steps.popleft()
            request = StandInRequest.of_signature(signature)
            in_chord = "chord" in request.options
            known = in_chord and request.id is not None and self._has_failed(request.id)
            if store_result and state in PROPAGATE_STATES and request.id is not None:
                self._store(request.id, error, state, traceback, request)
            if in_chord and not known:
                self.on_chord_part_return(request, state, error)
            if signature.get("subtask_type") == "chord":
                # Its result is that of its body.
                body = (signature.get("kwargs") or {}).get("body")
                if body is not None:
                    steps.append(body)

    def fail_chain_rest(self, request: Any, error: BaseException, traceback: Any = None) -> None:
        """The same for what a request's chain still holds."""
        self.fail_chain(request.chain, error, traceback)

    def fail_from_current_stack(self, task_id: str, exc: BaseException | None = None) -> None:
        """Store the exception that is being handled, or the one given, as the task's failure."""
        error = exc if exc is not None else sys.exc_info()[1]
        assert error is not None
        text = "".join(traceback_module.format_exception(type(error), error, error.__traceback__))
        self._store(task_id, error, FAILURE, text, None)

    def chord_error_from_stack(
        self, callback: Any, exc: BaseException | None = None, called: Collection[Any] = ()
    ) -> None:
        """The chord's body will never run: call its error callbacks, and let it and its chain fail.

        `called` are error callbacks that a chord in the header has called already.
        """
        error = exc if exc is not None else sys.exc_info()[1]
        assert error is not None
        if callback.get("subtask_type") == "group":
            self._fail_group(callback, error)
            self.fail_chain(callback.options.get("chain"), error)
            self._tell_outer_chord(callback, error, called)
            return
        if not callback.options.get("task_id"):
            callback.options["task_id"] = new_id()
        request = StandInRequest.of_signature(callback)
        done = [_identity(each) for each in called]
        request.errbacks = [each for each in _listed(request.errbacks) if _identity(each) not in done]
        try:
            self.call_errbacks(request, error)
        except Exception as second:
            error = second
        self.fail_from_current_stack(callback.options["task_id"], exc=error)
        self.fail_chain(callback.options.get("chain"), error)
        self._tell_outer_chord(callback, error, called)

    def errbacks_called(self, group_id: str, errbacks: list[Any]) -> None:
        """Error callbacks that a chord in the header of this one has called."""

    def _tell_outer_chord(self, signature: Any, error: BaseException, called: Collection[Any]) -> None:
        """A body in the header of another chord will not report to it: the failure is reported instead."""
        kind, within = signature.get("subtask_type"), signature.get("kwargs") or {}
        options = signature.get("options") or {}
        called = [*called, *_listed(options.get("link_error"))]
        parts: Any = ()
        if kind in ("group", "chain"):
            parts = list(within.get("tasks") or ())[0 if kind == "group" else -1 :]
        elif kind == "chord":
            parts = [within["body"]] if within.get("body") else []
        elif options.get("chord"):
            request = StandInRequest.of_signature(signature)
            if called and request.group:
                self.errbacks_called(request.group, called)
            self.on_chord_part_return(request, FAILURE, error)
        for part in parts:
            self._tell_outer_chord(part, error, called)

    def _fail_group(self, group: Any, error: BaseException) -> None:
        """Each task of a group that is a chord's body fails with what made the chord fail."""
        cause = error.__cause__ if isinstance(error, ChordError) and error.__cause__ else error
        frozen = group.freeze()
        common = _listed(group.options.get("link_error"))
        own = dict(_errbacks_of(task) for task in group.tasks)
        for result in frozen.results:
            errbacks: list[Any] = []
            for errback in (*own.get(result.id, ()), *common):
                if errback not in errbacks:
                    errbacks.append(errback)
            try:
                self.call_errbacks(StandInRequest(id=result.id, errbacks=errbacks, task="unknown"), cause)
                self.fail_from_current_stack(result.id, exc=cause)
            except Exception:
                logger.exception("Task %s of a chord's body could not be failed", result.id)
        if frozen.id:
            self._store(frozen.id, cause, FAILURE, None, None)
        frozen.revoke()

    def _has_failed(self, task_id: str) -> bool:
        state = self.get_state(task_id)  # type: ignore[attr-defined]
        return state in PROPAGATE_STATES

    def _store(self, task_id: str, error: BaseException, state: str, traceback: Any, request: Any) -> None:
        self.store_result(  # type: ignore[attr-defined]
            task_id, error, state, traceback=traceback, request=request
        )


def _errbacks_of(signature: Any) -> tuple[str | None, list[Any]]:
    """The id of a signature's result, and the error callbacks linked to it; a chord's are its body's."""
    errbacks: list[Any] = []
    while signature.get("subtask_type") == "chord" and signature["kwargs"].get("body"):
        errbacks += _listed(signature["options"].get("link_error"))
        signature = signature["kwargs"]["body"]
    errbacks += _listed(signature["options"].get("link_error"))
    if signature.get("subtask_type") == "group":
        for task in signature["kwargs"].get("tasks") or ():
            errbacks += _errbacks_of(task)[1]
    return signature["options"].get("task_id"), errbacks


def _identity(signature: Any) -> tuple[Any, ...]:
    """What makes two error callbacks the same call."""
    return signature.get("task"), list(signature.get("args") or ()), signature.get("kwargs") or {}


def _listed(value: Any) -> list[Any]:
    if not value:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
