"""Sending through an `app.amqp` that makes or publishes messages in its own way.

Programs derive from AMQP, or put something in the place of one of its methods, to look at messages or to
change them.  Everything else is sent by `sending.py` without a call of them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from taskyard.app.composing import listed
from taskyard.context import current_worker_request
from taskyard.message.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Callable


def send_by_amqp(
    app: Any,
    name: str,
    args: Any,
    kwargs: Any,
    countdown: float | None,
    eta: Any,
    task_id: str | None,
    expires: Any,
    link: Any,
    link_error: Any,
    options: dict[str, Any],
    *,
    router: Any,
    producer: Any,
    connection: Any,
    result_cls: Callable[[str], Any] | None,
) -> Any:
    """Make the message by `create_task_message`, publish it by `send_task_message`; the result."""
    amqp, take = app.amqp, options.pop
    task = take("task_type", None)
    ignore_result = take("ignore_result", None)
    parent = current_worker_request()
    root_id, parent_id = take("root_id", None), take("parent_id", None)
    limits = take("time_limit", None), take("soft_time_limit", None)
    options.pop("expires", None)
    route_name = take("route_name", None) or name
    task_id = task_id or new_id()
    options = (router or amqp.router).route(options, route_name, args, kwargs, task)
    take = options.pop
    if expires is not None:
        options["expiration"] = _seconds_until(expires, app.now())
    if parent is not None:
        root_id = root_id or parent.root_id or parent.id
        parent_id = parent_id or parent.id
        if app.conf.task_inherit_parent_priority:
            options.setdefault("priority", (parent.delivery_info or {}).get("priority"))
    message = amqp.create_task_message(
        task_id,
        name,
        args,
        kwargs,
        countdown,
        eta,
        take("group_id", None),
        take("group_index", None),
        expires,
        take("retries", None) or 0,
        take("chord", None),
        listed(link),
        listed(link_error),
        take("reply_to", None) or app.thread_oid,
        *limits,
        app.conf.task_send_sent_event,
        root_id,
        parent_id,
        take("shadow", None),
        take("chain", None),
        ignore_result=ignore_result,
        replaced_task_nesting=take("replaced_task_nesting", None) or 0,
        **options,
    )
    for stamp in take("stamped_headers", None) or ():
        options.pop(stamp, None)
    if connection is not None and producer is None:
        producer = amqp.Producer(connection, auto_declare=False)
    with app.producer_or_acquire(producer) as acquired:
        if not ignore_result:
            app.backend.on_task_call(acquired, task_id)
        amqp.send_task_message(
            acquired,
            name,
            message,
            **{option: value for option, value in options.items() if value is not None},
        )
    result = (result_cls or app.AsyncResult)(task_id)
    result.ignored = bool(ignore_result)
    return result


def _seconds_until(expires: Any, now: datetime) -> float:
    """The AMQP expiration as kombu takes it; nothing expires in the past."""
    if isinstance(expires, str):
        expires = datetime.fromisoformat(expires)
    if isinstance(expires, datetime):
        moment = expires if expires.tzinfo else expires.replace(tzinfo=UTC)
        expires = (moment.astimezone(UTC) - now.astimezone(UTC)).total_seconds()
    return float(max(0, expires))
