"""Removing what waits in queues."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def purge(app: Any, connection: Any, queues: Iterable[str] | None = None) -> int:
    """Remove what waits in these queues (default: all that the app consumes from); returns how many."""
    channel = connection.channel()
    count = 0
    try:
        for name in queues_of(app) if queues is None else queues:
            try:
                count += channel.queue_purge(queue=name) or 0
            except connection.channel_errors:  # no such queue: AMQP closes the channel
                channel = connection.channel()
    finally:
        channel.close()
    return count


def queues_of(app: Any) -> list[str]:
    """The names of the queues in `task_queues`, else the default queue."""
    queues = app.conf.task_queues
    if not queues:
        return [app.conf.task_default_queue]
    if isinstance(queues, dict):
        return list(queues)
    return [getattr(queue, "name", queue) for queue in queues]
