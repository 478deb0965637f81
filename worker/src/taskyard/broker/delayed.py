"""Delays that Celery clients leave to RabbitMQ: the exchanges and queues of "native delayed delivery".

A Celery client that knows a quorum queue behind a topic or fanout exchange publishes a message with an ETA to
the exchange ``celery_delayed_27`` with the delay in binary as routing key; through 28 queues with doubling
times to live it comes out of ``celery_delayed_delivery``. A worker has to make these and to bind its queues
behind the last one (source: kombu.transport.native_delayed_delivery).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from kombu import Connection

logger = logging.getLogger(__name__)

DELAYED_DELIVERY: Final = "celery_delayed_delivery"
#: What the names of all those exchanges begin with.
DELAYING: Final = "celery_delayed_"
#: The parts of a routing key that say how long a message is delayed, before the queue's name.
DELAY_LEVELS: Final = 28


def is_delayable(queue: Any) -> bool:
    """Whether Celery clients may delay messages for this queue natively: a quorum queue that is reached by
    another exchange than a direct one.
    """
    if isinstance(queue, str) or (queue.queue_arguments or {}).get("x-queue-type") != "quorum":
        return False
    exchanges = [queue.exchange, *(binding.exchange for binding in queue.bindings or ())]
    return any(exchange and exchange.type not in ("direct", "", None) for exchange in exchanges)


def take_part(connection: Connection, queues: Collection[Any], queue_type: str) -> None:
    """Make the delaying exchanges where they are missing, and bind the queues behind them.

    `queue_type` is classic or quorum; "" leaves everything alone.
    """
    if not queue_type:
        return
    from kombu.transport.native_delayed_delivery import (
        bind_queue_to_native_delayed_delivery_exchange,
        declare_native_delayed_delivery_exchanges_and_queues,
    )

    try:
        if not _is_there(connection):
            declare_native_delayed_delivery_exchanges_and_queues(connection, queue_type)
        for queue in queues:
            bind_queue_to_native_delayed_delivery_exchange(connection, queue)
    except connection.channel_errors as error:
        names = ", ".join(queue.name for queue in queues)
        logger.warning("Delays that Celery clients leave to RabbitMQ do not reach %s: %s", names, error)


def _is_there(connection: Connection) -> bool:
    channel = connection.channel()
    try:
        channel.exchange_declare(exchange=DELAYED_DELIVERY, type="topic", passive=True)
    except connection.channel_errors as error:
        if getattr(error, "reply_code", None) != 404:
            raise
        return False
    channel.close()
    return True
