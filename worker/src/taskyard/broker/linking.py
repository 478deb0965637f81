"""Which link a broker gets, and its opening."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

from taskyard.broker.connection import connect_as_configured, is_redis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskyard.broker.link import Link, OnDelivery
    from taskyard.settings import Settings

#: Longest wait for an answer of an AMQP broker, seconds.
_AMQP_SILENCE: Final = 8.0


def open_link(
    settings: Settings,
    queues: Collection[Any],
    on_delivery: OnDelivery,
    *,
    worker_id: str,
    dead_letters: Mapping[str, Any],
    still_running: Callable[[], Collection[Any]],
    limits: dict[str, bool],
    url: str | None = None,
) -> Link:
    """An open link to the app's broker (or to the one of `url`); the client's own exceptions when it cannot
    be reached.

    `still_running` names the tags of kept deliveries that are being worked on; `limits` remembers what
    earlier links found the broker unable to do.
    """
    own_options = {"dead_letters": dict(dead_letters), "worker_id": worker_id, "still_running": still_running}
    url = settings.effective_read_url() if url is None else url
    link = _redis_link(settings, url, queues, on_delivery, own_options) or _kombu_link(
        settings, url, queues, on_delivery, own_options, limits
    )
    try:
        link.open()
    except BaseException:
        link.abandon()
        raise
    return link


def _redis_link(
    settings: Settings, url: str, queues: Collection[Any], on_delivery: OnDelivery, options: dict[str, Any]
) -> Link | None:
    """The link to a Redis, where it will do."""
    if not is_redis(url):
        return None
    from taskyard.broker.redis.link import redis_link

    return redis_link(settings, url, queues, on_delivery, options)


def _kombu_link(
    settings: Settings,
    url: str,
    queues: Collection[Any],
    on_delivery: OnDelivery,
    own_options: dict[str, Any],
    limits: dict[str, bool],
) -> Link:
    connection = connect_as_configured(
        settings, url, heartbeat=settings.broker_heartbeat or 0.0, transport_options=own_options
    )
    if connection.transport.driver_type == "amqp":
        from taskyard.broker.amqp import AmqpLink

        # py-amqp takes every transport option as an argument of its own.
        for name in own_options:
            connection.transport_options.pop(name, None)
        # A broker that says nothing must not stop the loop for ever (seconds).
        connection.transport_options.setdefault("read_timeout", _AMQP_SILENCE)
        connection.transport_options.setdefault("write_timeout", _AMQP_SILENCE)
        delays = settings.worker_detect_quorum_queues and settings.broker_native_delayed_delivery_queue_type
        dead_letters = own_options["dead_letters"]
        link = AmqpLink(connection, queues, on_delivery, limits, dead_letters, delays or "")
        link.heartbeat_checks = max(settings.broker_heartbeat_checkrate, 2.0)
        return link
    if connection.transport.driver_type == "sqs":
        from taskyard.broker.sqs import SqsLink

        return SqsLink(
            connection, queues, on_delivery, own_options["dead_letters"], own_options["still_running"]
        )
    if type(connection.transport).__module__.startswith("taskyard."):
        from taskyard.broker.virtual_link import VirtualLink

        return VirtualLink(connection, queues, on_delivery)
    from taskyard.broker.polled import PolledLink

    # Somebody else's transport may know no options of ours.
    for name in own_options:
        connection.transport_options.pop(name, None)
    return PolledLink(connection, queues, on_delivery, own_options["dead_letters"])
