"""Queues and exchanges, declared once on each connection, as Celery would declare them.

A queue known by name only is durable and bound with its own name to a durable direct exchange of that name.
On AMQP a queue or exchange is looked up passively first: one that exists is taken as it is, whatever its
arguments are; only the bindings of the queue are made sure of.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kombu import Connection

logger = logging.getLogger(__name__)

_NOT_FOUND = 404
_FORBIDDEN = 403


def queue_called(name: str) -> Any:
    """The queue that a bare name stands for."""
    from kombu import Exchange, Queue

    return Queue(name, Exchange(name, type="direct", durable=True), routing_key=name, durable=True)


def declare_queue(connection: Connection, channel: Any, queue: Any) -> Any:
    """Make sure that a queue (a name or a kombu Queue) exists; returns a usable channel (AMQP closes one on
    which a look-up failed).
    """
    entity = queue_called(queue) if isinstance(queue, str) else queue
    if connection.transport.driver_type != "amqp":
        entity(channel).declare()
        return channel
    if not entity.name or entity.exclusive or _is_broadcast(entity):
        entity(channel).declare()
        return channel
    found, channel = _exists(connection, channel, "queue_declare", queue=entity.name)
    if not found:
        if entity.exchange:
            channel = declare_exchange(connection, channel, entity.exchange)
        bound = entity(channel)
        bound.queue_declare()
        _bind(bound)
        return channel
    return channel if _reached_by_name(entity) else _bind_existing(connection, channel, entity)


def declare_exchange(connection: Connection, channel: Any, exchange: Any) -> Any:
    """Make sure that a kombu Exchange exists; returns a usable channel."""
    if connection.transport.driver_type == "amqp":
        if not exchange.name or exchange.name.startswith("amq."):
            return channel
        found, channel = _exists(connection, channel, "exchange_declare", exchange=exchange.name, type="")
        if found:
            return channel
    exchange(channel).declare()
    return channel


def declare(connection: Connection, channel: Any, entity: Any) -> Any:
    """Make sure of a queue (by name or as kombu Queue) or of a kombu Exchange."""
    if isinstance(entity, str) or hasattr(entity, "queue_arguments"):
        return declare_queue(connection, channel, entity)
    return declare_exchange(connection, channel, entity)


def _exists(connection: Connection, channel: Any, method: str, **arguments: Any) -> tuple[bool, Any]:
    """Whether the broker knows it, and a channel to go on with."""
    try:
        getattr(channel, method)(passive=True, **arguments)
    except connection.channel_errors as error:
        if getattr(error, "reply_code", None) != _NOT_FOUND:
            raise
        return False, connection.channel()
    return True, channel


def _bind(bound: Any) -> None:
    if bound.exchange and bound.exchange.name:
        bound.queue_bind()
    for binding in bound.bindings or ():
        binding.declare(bound.channel)
        binding.bind(bound)


def _bind_existing(connection: Connection, channel: Any, entity: Any) -> Any:
    """Bind a queue that was there before; an account that may not do so is told once and goes on."""
    exchanges = [entity.exchange, *(binding.exchange for binding in entity.bindings or ())]
    try:
        for exchange in exchanges:
            if exchange:
                channel = declare_exchange(connection, channel, exchange)
        _bind(entity(channel))
    except connection.channel_errors as error:
        if getattr(error, "reply_code", None) != _FORBIDDEN:
            raise
        logger.warning("queue %r exists and may not be bound: %s", entity.name, error)
        return connection.channel()
    return channel


def dead_letter_targets(queues: Mapping[str, Any]) -> dict[str, str]:
    """Queue -> the queue among them that its dead-letter exchange leads to, where arguments name one."""
    targets = {}
    for name, queue in queues.items():
        arguments = queue.queue_arguments or {}
        exchange = arguments.get("x-dead-letter-exchange")
        if exchange is None:
            continue
        key = arguments.get("x-dead-letter-routing-key") or queue.routing_key or name
        target = key if exchange == "" else _bound_to(exchange, key, queues)
        if target is not None:
            targets[name] = target
    return targets


def _bound_to(exchange: str, key: str, queues: Mapping[str, Any]) -> str | None:
    for name, queue in queues.items():
        bound = queue.exchange
        if bound and bound.name == exchange and (bound.type == "fanout" or queue.routing_key in (key, "#")):
            return name
    return None


def _reached_by_name(queue: Any) -> bool:
    """Whether publishers reach the queue through the anonymous exchange alone."""
    exchange = queue.exchange
    return not queue.bindings and (
        not exchange
        or not exchange.name
        or (exchange.type == "direct" and exchange.name == queue.name == queue.routing_key)
    )


def _is_broadcast(queue: Any) -> bool:
    return type(queue).__name__ == "Broadcast"


def is_plain_queue(queue: Any) -> bool:
    """Whether nothing but its binding to a direct exchange is to be known of a queue."""
    if isinstance(queue, str):
        return True
    exchange = queue.exchange
    return (
        type(queue).__name__ == "Queue"
        and (not exchange or exchange.type == "direct")
        and not (queue.bindings or queue.auto_delete or queue.exclusive or queue.expires or queue.no_declare)
        and queue.on_declared is None
        and not queue.queue_arguments
    )
