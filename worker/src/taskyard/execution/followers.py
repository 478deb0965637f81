"""What is sent after a task: its links and the next step of its chain, or its error links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskyard.client.confirming import confirming
from taskyard.errors import BrokerError, Reject
from taskyard.result.errbacks import call_errbacks

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.context import Request

__all__ = ["call_errbacks", "send_next"]


def send_next(app: App, request: Request, value: Any) -> None:
    """Send the links and the next step of the chain; Reject (requeue) when the broker cannot take them.

    Without its successors the task is not done: the message goes back and will run again.  One that was
    acknowledged when it began cannot: BrokerError, and it has failed.
    """
    from taskyard.canvas.signatures import maybe_signature

    options: dict[str, Any] = {"parent_id": request.id, "root_id": request.root_id}
    if app.conf.task_inherit_parent_priority:
        options["priority"] = request.delivery_info.get("priority")
    try:
        with confirming():
            for signature in _links(app, request.callbacks or ()):
                signature.apply_async((value,), **options)
            chain = request.chain
            if chain:
                step = maybe_signature(chain[-1], app=app)
                step.apply_async((value,), chain=list(chain[:-1]), **options)
    except BrokerError as error:
        task = app.tasks.find(str(request.task))
        late = task.acks_late if task is not None else None
        if late or (late is None and app.conf.task_acks_late):
            raise Reject(error, requeue=True) from error
        raise


def _links(app: App, callbacks: Any) -> list[Any]:
    """Several links are sent as a group, of which they are children; groups among them as their own."""
    from taskyard.canvas.groups import group
    from taskyard.canvas.signatures import maybe_signature

    signatures = [maybe_signature(callback, app=app) for callback in callbacks]
    single = [signature for signature in signatures if not isinstance(signature, group)]
    if len(signatures) < 2 or not single:
        return signatures
    groups = [signature for signature in signatures if isinstance(signature, group)]
    return [*groups, group(single, app=app)]
