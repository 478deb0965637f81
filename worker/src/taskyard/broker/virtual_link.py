"""The link for kombu's virtual transports of our own: Redis, SQLite, memory."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from time import time
from typing import Any

from taskyard.broker.delivery import Delivery
from taskyard.broker.link import Link


class VirtualLink(Link):
    """A link by our own transports for Redis and SQLite, which lease what they hand out to this worker's
    id.
    """

    keeps_deliveries = True
    _loop: Any = None

    def open(self) -> None:
        """Also have the channel leave compressed bodies alone: they are unpacked where they are decoded."""
        super().open()
        from taskyard.broker.raw_message import RawMessage

        self.channel.Message = RawMessage

    def _delivery(self, queue: str, raw: Any) -> Delivery:
        info = raw.delivery_info or {}
        return Delivery(
            self,
            raw.delivery_tag,
            queue,
            raw.headers or {},
            raw.properties,
            raw.body or b"",
            raw.content_type,
            raw.content_encoding,
            info.get("exchange") or "",
            info.get("routing_key") or queue,
            bool(info.get("redelivered")),
        )

    def ready_to_settle(self) -> None:
        """Take over the lease of the earlier link now; consuming does the same."""
        self.channel.ready_to_settle()

    def ack_again(self, tags: Collection[Any]) -> None:
        """Those that were still leased when this link took over."""
        for tag in getattr(self.connection.transport, "adopted", {}).keys() & tags:
            self.channel.basic_ack(tag)

    def ack(self, delivery: Delivery) -> None:
        """Buffered by the transport until the end of the turn."""
        self.channel.basic_ack(delivery.tag)

    def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """In one step with the acknowledgement."""
        self.channel.dead_letter(delivery.tag, reason)

    def requeue_counted(self, delivery: Delivery, deliveries: int) -> None:
        """A copy with the count, then the acknowledgement: in between a crash doubles, it never loses."""
        message = self._copy(delivery, {**delivery.headers, "x-delivery-count": deliveries})
        self.channel.basic_publish(message, exchange="", routing_key=delivery.queue)
        self.channel.basic_ack(delivery.tag)

    def _copy(self, delivery: Delivery, headers: dict[str, Any]) -> Any:
        properties = {key: value for key, value in delivery.properties.items() if key != "delivery_tag"}
        properties["delivery_info"] = {"exchange": delivery.exchange, "routing_key": delivery.routing_key}
        return self.channel.prepare_message(
            delivery.body,
            priority=delivery.properties.get("priority"),
            content_type=delivery.content_type,
            content_encoding=delivery.content_encoding,
            headers=headers,
            properties=properties,
        )

    def defer(self, delivery: Delivery, due: float) -> None:
        """In one step: to the schedule, and released.  A broadcast is in no queue of the broker: it waits
        here.
        """
        if delivery.queue not in getattr(self.channel, "_fanout_queues", ()):
            self.channel.defer(delivery.tag, due)
            return
        self.channel.basic_ack(delivery.tag)
        self._loop.call_later(due - time(), self._deliver_again, delivery)

    def _deliver_again(self, delivery: Delivery) -> None:
        if self.alive and self.consuming:
            self.channel.qos.append(None, delivery.tag)
            delivery.settled = False
            self._on_delivery(delivery)

    def register(self, loop: Any) -> None:
        """Let the loop drive the connection."""
        self._loop = loop
        super().register(loop)

    def flush(self) -> None:
        """Send the buffered settlements."""
        self.channel.flush()

    def abandon(self) -> None:
        """Drop the connection; what is held stays leased to this worker's id."""
        with contextlib.suppress(Exception):
            self.channel.do_restore = False
        super().abandon()
