"""Queues and exchanges, declared once on each connection, exactly as Celery would declare them.

A queue `q` is durable and bound with routing key `q` to the durable direct exchange `q`.  On AMQP the queue
is looked up passively first: one that exists is taken as it is, whatever its arguments are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kombu import Connection


def declare_queue(connection: Connection, channel: Any, name: str) -> Any:
    """Make sure that the queue exists; returns a usable channel (AMQP closes one on which a look-up
    failed).
    """
    from kombu import Exchange, Queue

    queue = Queue(name, Exchange(name, type="direct", durable=True), routing_key=name, durable=True)
    if connection.transport.driver_type == "amqp":
        try:
            channel.queue_declare(queue=name, passive=True)
        except connection.channel_errors as error:
            if getattr(error, "reply_code", None) != 404:
                raise
            channel = connection.default_channel if channel is None else connection.channel()
        else:
            return channel
    queue(channel).declare()
    return channel
