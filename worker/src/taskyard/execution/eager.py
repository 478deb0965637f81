"""Running a task where it is called, as a worker would: `Task.apply` and the setting task_always_eager."""

from __future__ import annotations

import asyncio
import contextvars
import socket
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from taskyard import signals
from taskyard.context import Context, current_worker_request, enter, leave
from taskyard.errors import Ignore, Reject, Retry, TaskPredicate
from taskyard.execution.exception_info import ExceptionInfo, tell_of_failure
from taskyard.execution.followers import call_errbacks
from taskyard.message.codec import content_types, dumps, loads
from taskyard.message.identity import new_id
from taskyard.result.eager import EagerResult
from taskyard.result.joining import denied_join_result
from taskyard.result.states import FAILURE, IGNORED, REJECTED, RETRY, SUCCESS

if TYPE_CHECKING:
    from taskyard.task import Task


def apply_always(
    task: Task[..., Any],
    args: Any,
    kwargs: Any,
    *,
    task_id: str | None,
    link: Any,
    link_error: Any,
    options: dict[str, Any],
) -> Any:
    """What `apply_async` does under task_always_eager: the arguments go through the serializer first."""
    conf = task.app.conf
    serializer = options.get("serializer") or conf.task_serializer
    try:
        body, content_type, encoding = dumps([args or (), kwargs or {}], serializer)
    except (TypeError, ValueError, RecursionError) as error:
        from kombu.exceptions import EncodeError

        raise EncodeError(f"the arguments of {task.name} cannot be sent: {error}") from error
    args, kwargs = loads(body, content_type, encoding, content_types([content_type]))
    with denied_join_result():
        return task.apply(args, kwargs, task_id=task_id, link=link, link_error=link_error, **options)


def run_eagerly(
    task: Task[..., Any],
    args: Any,
    kwargs: Any,
    *,
    link: Any,
    link_error: Any,
    task_id: str | None,
    retries: int,
    throw: bool | None,
    headers: dict[str, Any] | None,
    attributes: dict[str, Any],
    options: dict[str, Any],
) -> Any:
    """Run, with hooks, signals, links and retries; `throw` None means task_eager_propagates."""
    app = task.app
    registered = app.tasks.find(task.name) or task
    if registered._bound_class is not type(registered):
        type(registered).bind(app)
    task = registered
    if throw is None:
        throw = app.conf.task_eager_propagates
    task_id = task_id or new_id()
    parent = current_worker_request()
    limits = (task.time_limit, task.soft_time_limit)
    stamped = _listed(options.get("stamped_headers"))
    ignore_result = options.get("ignore_result")
    request = Context(
        {
            "id": task_id,
            "task": task.name,
            "args": args or (),
            "kwargs": kwargs or {},
            "parent_id": parent.id if parent is not None else None,
            "root_id": (parent.root_id if parent is not None else None) or task_id,
            "retries": retries,
            "is_eager": True,
            "called_directly": False,
            "hostname": socket.gethostname(),
            "callbacks": _listed(link),
            "errbacks": _listed(link_error),
            "headers": headers,
            "timelimit": None if limits == (None, None) else list(limits),
            "ignore_result": task.ignore_result if ignore_result is None else ignore_result,
            "delivery_info": {
                "is_eager": True,
                **{name: options.get(name) for name in ("exchange", "routing_key", "priority")},
            },
            **attributes,
        }
    )
    if stamped:
        request.update(
            stamped_headers=stamped, stamps={each: _listed(options.get(each)) or [] for each in stamped}
        )
    state, value, einfo = _Run(task, request).outcome(propagate=throw)
    if isinstance(value, Retry) and value.sig is not None:
        return value.sig.apply(retries=retries + 1)
    return EagerResult(
        task_id, value, state, traceback=einfo.traceback if einfo is not None else None, name=task.name
    )


class _Run:
    """One eager run; what a hook raises is raised, for the sake of tests."""

    def __init__(self, task: Task[..., Any], request: Context) -> None:
        self.task = task
        self.request = request
        kept = bool(task.store_eager_result) and not request.ignore_result
        self.keeps_result = kept
        self.keeps_error = kept or bool(task.store_eager_result and task.store_errors_even_if_ignored)

    def outcome(self, *, propagate: bool) -> tuple[str, Any, ExceptionInfo | None]:
        """State, result or exception, and what hooks get for the latter."""
        task, request = self.task, self.request
        names = {"task_id": request.id, "task": task, "args": request.args, "kwargs": request.kwargs}
        state, value, einfo = SUCCESS, None, None
        enter(task, request)
        try:
            try:
                if signals.task_prerun:
                    signals.task_prerun.send(sender=task, **names)
                task.before_start(str(request.id), request.args, request.kwargs)
                value = self._call()
                self._record(value)
            except Exception as raised:
                error = raised if isinstance(raised, TaskPredicate) else task.autoretry(raised)
                if propagate and not isinstance(error, (Ignore, Reject)):
                    if error is raised:
                        raise
                    raise error from raised
                state, value, einfo = self._raised(error)
            else:
                self._succeeded(value)
            if state in (SUCCESS, FAILURE):
                task.after_return(state, value, str(request.id), request.args, request.kwargs, einfo)
        finally:
            if signals.task_postrun:
                signals.task_postrun.send(sender=task, retval=value, state=state, **names)
            leave(task)
        return state, value, einfo

    def _call(self) -> Any:
        from taskyard.task import Task

        task, request = self.task, self.request
        custom = type(task).__call__ is not Task.__call__
        value = (task if custom else task.run)(*request.args, **request.kwargs)
        return _awaited(value) if iscoroutine(value) else value

    def _record(self, value: Any) -> None:
        task, request = self.task, self.request
        if request.callbacks:
            from taskyard.canvas import maybe_signature

            for callback in request.callbacks:
                signature = maybe_signature(callback, app=task.app)
                signature.apply_async((value,), parent_id=request.id, root_id=request.root_id)
        if self.keeps_result:
            task.backend.mark_as_done(request.id, value, request=request)

    def _succeeded(self, value: Any) -> None:
        task, request = self.task, self.request
        task.on_success(value, str(request.id), request.args, request.kwargs)
        if signals.task_success:
            signals.task_success.send(sender=task, result=value)

    def _raised(self, error: BaseException) -> tuple[str, Any, ExceptionInfo | None]:
        task, request = self.task, self.request
        if isinstance(error, Ignore):
            return IGNORED, error, None
        if isinstance(error, Reject):
            return REJECTED, error, None
        einfo = ExceptionInfo(error)
        if isinstance(error, Retry):
            if self.keeps_error:
                task.backend.mark_as_retry(request.id, error.exc, einfo.traceback, request=request)
            task.on_retry(error.exc, str(request.id), request.args, request.kwargs, einfo)
            if signals.task_retry:
                signals.task_retry.send(sender=task, request=request, reason=error, einfo=einfo)
            return RETRY, error, einfo
        if self.keeps_error:
            task.backend.mark_as_failure(
                request.id, error, einfo.traceback, request=request, call_errbacks=False
            )
        if request.errbacks:
            call_errbacks(task.app, request, error, einfo.traceback)
        task.on_failure(error, str(request.id), request.args, request.kwargs, einfo)
        tell_of_failure(task, request.id, request, error, einfo)
        return FAILURE, error, einfo


def _awaited(body: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end; beside a running event loop in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(body)
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(contextvars.copy_context().run, asyncio.run, body).result()


def _listed(value: Any) -> list[Any] | None:
    if not value:
        return None
    return list(value) if isinstance(value, (list, tuple)) else [value]
