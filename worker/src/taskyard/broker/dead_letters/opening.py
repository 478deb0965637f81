"""From the app's broker to the store of its dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskyard.broker.opening import reach
from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from taskyard.broker.dead_letters.store import DeadLetterStore
    from taskyard.settings import Settings


def open_store(settings: Settings) -> DeadLetterStore:
    """The dead letters of the app's broker; BrokerDisconnected when it cannot be reached."""
    connection = reach(settings)
    kind = connection.transport.driver_type
    if kind == "redis":
        from taskyard.broker.dead_letters.redis import RedisDeadLetters

        return RedisDeadLetters(connection)
    if kind in ("sqlite", "memory"):
        from taskyard.broker.dead_letters.sqlite import SqliteDeadLetters

        return SqliteDeadLetters(connection)
    if kind == "amqp":
        from taskyard.broker.dead_letters.amqp import AmqpDeadLetters

        return AmqpDeadLetters(connection)
    if kind == "sqs":
        from taskyard.broker.dead_letters.sqs import SqsDeadLetters

        return SqsDeadLetters(connection)
    connection.close()
    raise ImproperlyConfigured(f"a broker of the kind {kind} has no dead letters that could be shown")
