"""What a failure calls: error callbacks, in the style of their signature."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

from taskyard.errors import NotRegistered

if TYPE_CHECKING:
    from taskyard.app import App

logger = logging.getLogger("taskyard.task")


class StandInRequest:
    """The request of a task that never ran: of a step of a chain, or of a chord's body."""

    def __init__(self, **fields: Any) -> None:
        self.id: str | None = None
        self.root_id: str | None = None
        self.parent_id: str | None = None
        self.group: str | None = None
        self.group_index: int | None = None
        self.task: str | None = None
        self.args: Any = ()
        self.kwargs: dict[str, Any] = {}
        self.hostname: str | None = None
        self.retries = 0
        self.delivery_info: dict[str, Any] = {}
        self.chord: Any = None
        self.chain: Any = None
        self.errbacks: Any = None
        self.children: list[Any] = []
        self.ignore_result: bool | None = None
        self.stamps: dict[str, Any] | None = None
        self.stamped_headers: list[str] | None = None
        self.is_eager = False
        self.called_directly = False
        self.options: dict[str, Any] = {}
        self.__dict__.update(fields)

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute by name."""
        return getattr(self, name, default)

    @classmethod
    def of_signature(cls, signature: Any) -> StandInRequest:
        """What the task of a signature would have had."""
        options = dict(signature.get("options") or {})
        return cls(
            id=options.get("task_id"),
            task=signature.get("task"),
            args=signature.get("args") or (),
            kwargs=signature.get("kwargs") or {},
            group=options.get("group_id"),
            group_index=options.get("group_index"),
            root_id=options.get("root_id"),
            parent_id=options.get("parent_id"),
            chord=options.get("chord"),
            chain=options.get("chain"),
            errbacks=options.get("link_error"),
            stamped_headers=options.get("stamped_headers"),
            options=options,
        )


def call_errbacks(app: App, request: Any, error: BaseException, traceback: Any) -> None:
    """Call each: `(request, exc, traceback)` here and now if the task is registered and takes that much,
    else as a task with the failed one's id; those tasks are sent as a group.
    """
    to_send = []
    for errback in _listed(request.errbacks):
        signature = app.signature(errback)
        try:
            task = _registered(app, signature)
            if task is not None and takes_more_than_one(task, signature):
                signature(request, error, traceback)
            else:
                to_send.append(signature)
        except Exception:
            logger.exception("Error callback %r of task %s failed", signature.get("task"), request.id)
    if to_send:
        try:
            _send(app, request, app.canvas.group(to_send, app=app))
        except Exception:
            logger.exception("Error callbacks of task %s could not be sent", request.id)


def _registered(app: App, signature: Any) -> Any:
    try:
        return app.tasks[signature.get("task")]
    except (NotRegistered, KeyError):
        return None


def _send(app: App, request: Any, signature: Any) -> None:
    root = request.root_id or request.id
    if app.conf.get("task_always_eager") or getattr(request, "is_eager", False):
        signature.apply((request.id,), parent_id=request.id, root_id=root)
    else:
        signature.apply_async((request.id,), parent_id=request.id, root_id=root)


def takes_more_than_one(task: Any, signature: Any) -> bool:
    """Whether the task takes more than one argument beyond those that the signature brings."""
    try:
        parameters = inspect.signature(task.run).parameters.values()
    except (TypeError, ValueError):
        return False
    given = 0 if signature.get("immutable") else len(signature.get("args") or ())
    named = {} if signature.get("immutable") else signature.get("kwargs") or {}
    count = 0
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            return True
        if parameter.name in named:
            break  # it and those after it can only be given by name now
        count += parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    return count - given > 1


def _listed(value: Any) -> list[Any]:
    if not value:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
