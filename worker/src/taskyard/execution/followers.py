"""What is sent after a task: its links and the next step of its chain, or its error links."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

from taskyard.client.signature import send_signature
from taskyard.errors import BrokerError, Reject

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.context import Request
    from taskyard.task import Task

logger = logging.getLogger("taskyard.task")


def send_next(app: App, request: Request, value: Any) -> None:
    """Send the links and the next step of the chain; Reject (requeue) when the broker cannot take them.

    Without its successors the task is not done: the message goes back and will run again.
    """
    ids = {"parent_id": request.id, "root_id": request.root_id}
    try:
        for callback in request.callbacks or ():
            send_signature(app, callback, (value,), confirmed=True, **ids)
        chain = request.chain
        if chain:
            send_signature(app, chain[-1], (value,), chain=list(chain[:-1]), confirmed=True, **ids)
    except BrokerError as error:
        raise Reject(error, requeue=True) from error


def call_errbacks(app: App, request: Request, error: BaseException, text: str | None) -> None:
    """Error links of the new style (request, exc, traceback) run here if their task is registered, those of
    the old style are sent with the task id.
    """
    for errback in request.errbacks or ():
        try:
            task = app.tasks.find(errback["task"])
            if task is not None and _takes_more_than_one(task, errback):
                arguments = [request, error, text, *(errback.get("args") or ())]
                task(*arguments, **(errback.get("kwargs") or {}))
            else:
                send_signature(
                    app,
                    errback,
                    (request.id,),
                    parent_id=request.id,
                    root_id=request.root_id,
                    confirmed=True,
                )
        except Exception:
            logger.exception("Error callback %r of task %s failed", errback.get("task"), request.id)


def _takes_more_than_one(task: Task[..., Any], errback: dict[str, Any]) -> bool:
    try:
        signature = inspect.signature(task.run)
    except (TypeError, ValueError):
        return False
    count = 0
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return True
        count += parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    return count - len(errback.get("args") or ()) > 1
