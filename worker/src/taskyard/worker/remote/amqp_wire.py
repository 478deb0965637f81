"""The wire on RabbitMQ: a connection of its own, read by the loop like the worker's link.

Whether anybody listens to task events is asked by a mandatory message on a channel with confirmations:
RabbitMQ returns it before it confirms it when no queue would get it.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from kombu import Exchange, Queue

from taskyard.broker.amqp_reader import AmqpReader
from taskyard.events.event import get_exchange
from taskyard.worker.remote.wire import Message

if TYPE_CHECKING:
    from taskyard.loop import Loop
    from taskyard.settings import Settings
    from taskyard.worker.remote.wire import Owner

logger = logging.getLogger(__name__)

#: Seconds that a write may take, should RabbitMQ not read.
_WRITE_SECONDS = 2.0


class _Reader(AmqpReader):
    """Tells the wire's owner of a broken connection: the loop would take it for the worker's own."""

    owner: Owner

    def _readable(self) -> None:
        try:
            super()._readable()
        except Exception as error:
            self.owner.on_lost(error)


class AmqpWire:
    """One connection: a channel to listen and speak, one to probe."""

    tells_listeners = True

    def __init__(self, conf: Settings, connection: Any, loop: Loop, owner: Owner) -> None:
        self._conf = conf
        self._connection = connection
        self._loop = loop
        self._owner = owner
        self._reader: _Reader | None = None
        self._channel: Any = None
        self._prober: Any = None
        self._heartbeat: Any = None
        self._returned = False
        self._blocked = False
        self._arrived: list[Message] = []
        connection.transport_options.update(
            write_timeout=_WRITE_SECONDS, on_blocked=self._on_blocked, on_unblocked=self._on_unblocked
        )

    def open(self, listen: bool) -> None:
        """Connect, declare what Celery declares, consume."""
        conf, connection = self._conf, self._connection
        connection.connect()
        channel = self._channel = connection.channel()
        get_exchange(connection, conf.event_exchange)(channel).declare()
        if listen:
            self._listen(channel)
        prober = self._prober = connection.channel()
        prober.confirm_select()
        prober.events["basic_return"].add(self._on_return)
        prober.events["basic_ack"].add(self._on_confirmed)
        reader = self._reader = _Reader(connection.connection, self._loop, self._hand_over)
        reader.owner = self._owner
        reader.look_again()
        interval = connection.get_heartbeat_interval()
        if interval:
            self._heartbeat = self._loop.call_repeatedly(max(interval / 4, 0.5), self._check_heartbeat)

    def _listen(self, channel: Any) -> None:
        conf = self._conf
        exchange = Exchange(
            f"{conf.control_exchange}.pidbox", type="fanout", durable=False, delivery_mode="transient"
        )
        queue = Queue(
            f"{self._owner.hostname}.{conf.control_exchange}.pidbox",
            exchange=exchange,
            durable=conf.control_queue_durable,
            exclusive=conf.control_queue_exclusive,
            auto_delete=not conf.control_queue_durable,
            expires=conf.control_queue_expires,
            message_ttl=conf.control_queue_ttl,
        )
        queue(channel).declare()
        channel.basic_consume(queue=queue.name, no_ack=True, callback=self._received)

    def _received(self, raw: Any) -> None:
        properties = raw.properties
        self._arrived.append(
            Message(
                raw.body,
                properties.get("content_type"),
                properties.get("content_encoding"),
                properties.get("application_headers") or {},
            )
        )

    def _hand_over(self) -> None:
        while self._arrived:
            self._owner.on_request(self._arrived.pop(0))

    def _check_heartbeat(self) -> None:
        self._guarded(lambda: self._connection.heartbeat_check(2))

    def _on_blocked(self, reason: str) -> None:
        logger.warning("RabbitMQ takes nothing at the moment (%s): no events and replies meanwhile", reason)
        self._blocked = True

    def _on_unblocked(self) -> None:
        self._blocked = False

    def reply(self, exchange: str, routing_key: str, message: Message) -> None:
        """To the exchange that the request named."""
        self._publish(self._channel, exchange, routing_key, message)

    def publish(self, routing_key: str, message: Message) -> None:
        """To the exchange of events."""
        self._publish(self._channel, self._conf.event_exchange, routing_key, message)

    def probe(self, message: Message) -> None:
        """A mandatory message that says nothing."""
        self._returned = False
        self._publish(self._prober, self._conf.event_exchange, "task.multi", message, mandatory=True)

    def _on_return(self, error: Any, exchange: str, routing_key: str, message: Any) -> None:
        self._returned = True

    def _on_confirmed(self, tag: int, multiple: bool) -> None:
        self._owner.on_listeners(0 if self._returned else 1)

    def _publish(self, channel: Any, exchange: str, routing_key: str, message: Message, **how: Any) -> None:
        if self._blocked:
            return
        prepared = channel.prepare_message(
            message.body,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            headers=message.headers,
            properties={"delivery_mode": 1},
        )
        self._guarded(
            lambda: channel.basic_publish(prepared, exchange=exchange, routing_key=routing_key, **how)
        )

    def _guarded(self, action: Any) -> None:
        try:
            action()
        except Exception as error:
            self._owner.on_lost(error)

    def flush(self) -> None:
        """Everything is written at once."""

    def overdue(self) -> bool:
        """AMQP's heartbeats see to that."""
        return False

    def close(self) -> None:
        """Disconnect."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        if self._reader is not None:
            self._reader.stop()
        with contextlib.suppress(Exception):
            self._connection.collect(socket_timeout=0.1)
