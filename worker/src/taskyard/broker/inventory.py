"""How many messages wait in queues, and throwing them away; on every broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kombu import Connection


def ready(connection: Connection, queue: str) -> int | None:
    """Messages of a queue that nobody has taken; None if there is no such queue."""
    channel: Any = connection.channel()
    if connection.transport.driver_type != "amqp":
        try:
            return int(channel._size(queue)) if channel._has_queue(queue) else None
        finally:
            channel.close()
    try:
        count = int(channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors as error:
        if getattr(error, "reply_code", None) != 404:
            raise
        return None
    channel.close()
    return count


def purge(connection: Connection, queue: str) -> int:
    """Throw away what waits in a queue; returns how many messages."""
    if ready(connection, queue) is None:
        return 0
    channel: Any = connection.channel()
    try:
        return int(channel.queue_purge(queue) or 0)
    finally:
        channel.close()
