"""Moving messages between queues and between brokers; `taskyard migrate` is made of it.

What waits in a queue is meant: what a worker holds or has put into the broker's schedule (ETA, countdown)
stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from kombu import Queue
from kombu.common import maybe_declare
from kombu.utils.encoding import ensure_bytes

from taskyard.broker.delayed import DELAY_LEVELS, DELAYING
from taskyard.contrib.filtering import (
    Callback,
    State,
    StopFiltering,
    id_of,
    prepare_queues,
    start_filter,
    task_of,
)
from taskyard.shared import app_or_default
from taskyard.utils.nodenames import worker_direct

__all__ = (
    "State",
    "StopFiltering",
    "filter_status",
    "migrate_task",
    "migrate_tasks",
    "move",
    "move_by_idmap",
    "move_by_taskmap",
    "move_direct",
    "move_direct_by_id",
    "move_direct_by_idmap",
    "move_direct_by_taskmap",
    "move_task_by_id",
    "prepare_queues",
    "republish",
    "start_filter",
    "task_id_eq",
    "task_id_in",
)

#: Properties that publishing sets anew, or that belong to the broker the message came from.
_NOT_KEPT = (
    "application_headers",
    "body_encoding",
    "content_encoding",
    "content_type",
    "delivery_info",
    "delivery_tag",
    "headers",
)


def republish(
    producer: Any,
    message: Any,
    exchange: str | None = None,
    routing_key: str | None = None,
    remove_props: Iterable[str] = _NOT_KEPT,
) -> None:
    """Send a message once more as it is, to where it came from or elsewhere."""
    headers = dict(message.headers)
    properties = {name: value for name, value in message.properties.items() if name not in remove_props}
    # On the wire a text in milliseconds; publishing takes seconds.
    expiration = properties.pop("expiration", None)
    # What came compressed has been unpacked, unless nobody here knows how.
    compression = None if getattr(message, "errors", None) else headers.pop("compression", None)
    came_by = _origin(message.delivery_info)
    producer.publish(
        ensure_bytes(message.body),
        exchange=came_by[0] if exchange is None else exchange,
        routing_key=came_by[1] if routing_key is None else routing_key,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        compression=compression,
        headers=headers,
        expiration=None if expiration is None else float(expiration) / 1000,
        **properties,
    )


def _origin(info: Mapping[str, Any]) -> tuple[str, str]:
    """Exchange and routing key; what was delayed on RabbitMQ goes to its queue and is not delayed again."""
    exchange, routing_key = info.get("exchange") or "", info["routing_key"]
    if exchange.startswith(DELAYING):
        return "", routing_key.split(".", DELAY_LEVELS)[-1]
    return exchange, routing_key


def migrate_task(producer: Any, body: Any, message: Any, queues: Mapping[str, str] | None = None) -> None:
    """Send one message to the other broker, into the queue of the same or of another name."""
    info, queues = message.delivery_info, queues or {}
    republish(
        producer,
        message,
        exchange=queues.get(info.get("exchange") or ""),
        routing_key=queues.get(info["routing_key"]),
    )


def migrate_tasks(
    source: Any,
    dest: Any,
    migrate: Callable[..., Any] = migrate_task,
    app: Any = None,
    queues: Any = None,
    **options: Any,
) -> State:
    """Send what waits at one broker to another, whose queues are declared first; both are connections.

    `queues` names those that are meant (default: the app's), each as "name" or "name:new name"; the rest of
    the options are start_filter's.  Without `ack_messages` the messages stay at the first broker, too.
    """
    app = app_or_default(app)
    renamed = prepare_queues(queues)
    producer = app.amqp.Producer(dest, auto_declare=False)

    def declare(queue: Queue) -> None:
        name = renamed.get(queue.name, queue.name)
        new = queue(producer.channel)
        if new.routing_key == queue.name:
            new.routing_key = name
        if new.exchange.name == queue.name:
            new.exchange.name = name
        new.name = name
        new.declare()

    send = partial(migrate, producer, queues=renamed)
    return start_filter(app, source, send, queues=renamed, on_declare_queue=declare, **options)


def move(
    predicate: Callback,
    connection: Any = None,
    exchange: Any = None,
    routing_key: str | None = None,
    source: Iterable[Any] | None = None,
    app: Any = None,
    callback: Callable[..., Any] | None = None,
    limit: int | None = None,
    transform: Callable[[Any], Any] | None = None,
    **options: Any,
) -> State:
    """Move the messages of which `predicate(body, message)` says so, at the same broker.

    It answers with a Queue or its name, with (exchange, routing key), or with another true value, which means
    the `exchange` and `routing_key` given here; `transform` makes one of these of something else.  `source`
    names the queues to look into (default: the app's); the rest of the options are start_filter's.
    """
    app = app_or_default(app)
    state = State()
    with app.connection_or_acquire(connection, pool=False) as conn:
        producer = app.amqp.Producer(conn)

        def on_task(body: Any, message: Any) -> None:
            target = predicate(body, message)
            if not target:
                return
            if transform is not None:
                target = transform(target)
            if isinstance(target, str) and exchange is None and routing_key is None:
                target = app.amqp.queues[target]
            if isinstance(target, Queue):
                maybe_declare(target, conn.default_channel)
                where = target.exchange.name, target.routing_key
            else:
                where = expand_dest(target, exchange, routing_key)
            republish(producer, message, *where)
            message.ack()
            state.filtered += 1
            if callback is not None:
                callback(state, body, message)
            if limit and state.filtered >= limit:
                raise StopFiltering

        return start_filter(
            app, conn, on_task, consume_from=list(source or ()) or None, state=state, **options
        )


def expand_dest(target: Any, exchange: Any, routing_key: str | None) -> tuple[Any, Any]:
    """Exchange and routing key: those that were answered, else the ones given."""
    if isinstance(target, (tuple, list)) and len(target) == 2:
        return target[0], target[1]
    return exchange, routing_key


def move_task_by_id(task_id: str, dest: Any, **options: Any) -> State:
    """Move the task with that id to a queue."""
    return move_by_idmap({task_id: dest}, **options)


def move_by_idmap(map: Mapping[str, Any], **options: Any) -> State:
    """Move tasks by id: {id: queue}."""
    return move(lambda body, message: map.get(id_of(body, message)), limit=len(map), **options)


def move_by_taskmap(map: Mapping[str, Any], **options: Any) -> State:
    """Move tasks by name: {name: queue}."""
    return move(lambda body, message: map.get(task_of(body, message)), **options)


move_direct = partial(move, transform=worker_direct)
move_direct_by_id = partial(move_task_by_id, transform=worker_direct)
move_direct_by_idmap = partial(move_by_idmap, transform=worker_direct)
move_direct_by_taskmap = partial(move_by_taskmap, transform=worker_direct)


def filter_status(state: State, body: Any, message: Any, **more: Any) -> None:
    """A `callback` that prints a line for each message."""
    print(  # noqa: T201
        f"Moving task {state.filtered}/{state.strtotal}: {task_of(body, message)}[{id_of(body, message)}]"
    )


def task_id_eq(task_id: str, body: Any, message: Any) -> bool:
    """Whether it is the task with that id."""
    return id_of(body, message) == task_id


def task_id_in(ids: Iterable[str], body: Any, message: Any) -> bool:
    """Whether it is one of these."""
    return id_of(body, message) in ids
