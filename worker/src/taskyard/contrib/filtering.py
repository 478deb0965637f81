"""Looking through what waits in queues, message by message."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kombu import Consumer, Queue, eventloop

#: Called for each message: (body, message); the body is None where it cannot be read.
Callback = Callable[[Any, Any], Any]


class StopFiltering(Exception):  # noqa: N818  Celery's name
    """Raised by a callback: enough."""


class State:
    """How far it is."""

    def __init__(self) -> None:
        #: Messages that were looked at, those that were moved, and those that were waiting.
        self.count = 0
        self.filtered = 0
        self.total_apx = 0

    @property
    def strtotal(self) -> str:
        """How many there were, "?" if nobody knows."""
        return str(self.total_apx) if self.total_apx else "?"

    def __repr__(self) -> str:
        return f"^{self.filtered}" if self.filtered else f"{self.count}/{self.strtotal}"


def prepare_queues(queues: Any) -> dict[str, str]:
    """{name: new name} of "a,b:c", of a list of such names, or of such a dict."""
    if isinstance(queues, str):
        queues = [name.strip() for name in queues.split(",")]
    if isinstance(queues, list):
        pairs = [name.partition(":") for name in queues if name]
        return {old: new or old for old, _, new in pairs}
    return dict(queues or {})


def start_filter(
    app: Any,
    conn: Any,
    filter: Callback,
    limit: int | None = None,
    timeout: float | None = 1.0,
    ack_messages: bool = False,
    tasks: str | Iterable[str] | None = None,
    queues: Any = None,
    callback: Callable[..., Any] | None = None,
    forever: bool = False,
    on_declare_queue: Callable[[Queue], Any] | None = None,
    consume_from: Iterable[Any] | None = None,
    state: State | None = None,
    accept: Any = None,
    **options: Any,
) -> State:
    """Show `filter` the messages that wait, `limit` of them, or until none came for `timeout` seconds.

    Those that nobody acknowledged go back when the connection ends.  `tasks` names those that are meant,
    `callback` is told of each with the state before: (state, body, message).
    """
    state = state or State()
    wanted = {each.strip() for each in tasks.split(",")} if isinstance(tasks, str) else set(tasks or ())
    renamed = prepare_queues(queues)
    consumed = [_queue(app, each) for each in consume_from or renamed] or list(
        app.amqp.queues.consume_from.values()
    )

    def on_message(message: Any) -> None:
        body = _readable(message)
        if wanted and task_of(body, message) not in wanted:
            return
        filter(body, message)
        state.count += 1
        if ack_messages and not message.acknowledged:
            message.ack()
        if callback is not None:
            callback(state, body, message)
        if limit and state.count >= limit:
            raise StopFiltering

    consumer = Consumer(conn, consumed, on_message=on_message, accept=accept)
    for queue in consumer.queues:
        if on_declare_queue is not None:
            on_declare_queue(queue)
        try:
            state.total_apx += queue(consumer.channel).queue_declare(passive=True).message_count
        except conn.channel_errors:
            consumer.revive(conn.default_channel)
    with consumer:
        try:
            for _ in eventloop(conn, timeout=timeout, ignore_timeouts=forever):
                pass
        except (TimeoutError, StopFiltering):
            pass
    return state


def _queue(app: Any, queue: Any) -> Queue:
    return app.amqp.queues[queue] if isinstance(queue, str) else queue


def _readable(message: Any) -> Any:
    try:
        return message.decode()
    except Exception:  # whoever wrote it may have meant others to read it
        return None


def task_of(body: Any, message: Any) -> Any:
    """The task's name: in the headers, in the body of old messages."""
    return message.headers.get("task") or (body.get("task") if isinstance(body, dict) else None)


def id_of(body: Any, message: Any) -> str:
    """The task's id, "" if it has none."""
    named = message.headers.get("id") or message.properties.get("correlation_id")
    return str(named or (body.get("id") if isinstance(body, dict) else ""))
