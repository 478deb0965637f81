"""The wire on any other broker of kombu's that has broadcasts (SQLite, memory)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from kombu import Exchange, Queue

from taskyard.events.event import get_exchange
from taskyard.worker.remote.wire import Message

if TYPE_CHECKING:
    from taskyard.loop import Loop
    from taskyard.settings import Settings
    from taskyard.worker.remote.wire import Owner

#: How often a transport is looked at that cannot join the loop, seconds.
_LOOK_SECONDS = 0.2


class KombuWire:
    """A kombu connection and channel."""

    tells_listeners = True

    def __init__(self, conf: Settings, connection: Any, loop: Loop, owner: Owner) -> None:
        self._conf = conf
        self._connection = connection
        self._loop = loop
        self._owner = owner
        self._channel: Any = None
        self._timer: Any = None

    def open(self, listen: bool) -> None:
        """Connect, declare, consume."""
        conf, connection = self._conf, self._connection
        connection.connect()
        channel = self._channel = connection.channel()
        get_exchange(connection, conf.event_exchange)(channel).declare()
        if not listen:
            return
        exchange = Exchange(
            f"{conf.control_exchange}.pidbox", type="fanout", durable=False, delivery_mode="transient"
        )
        queue = Queue(
            f"{self._owner.hostname}.{conf.control_exchange}.pidbox",
            exchange=exchange,
            durable=False,
            auto_delete=True,
            expires=conf.control_queue_expires,
            message_ttl=conf.control_queue_ttl,
        )
        queue(channel).declare()
        # What was asked before this worker began is not meant for it.
        channel.queue_purge(queue=queue.name)
        channel.basic_consume(
            queue=queue.name, no_ack=True, callback=self._received, consumer_tag="taskyard-remote"
        )
        if connection.transport.implements.asynchronous:
            connection.transport.register_with_event_loop(connection.connection, self._loop)
        else:
            self._timer = self._loop.call_repeatedly(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        with contextlib.suppress(TimeoutError):
            self._guarded(lambda: self._connection.drain_events(timeout=0.001))

    def _received(self, raw: Any) -> None:
        self._owner.on_request(
            Message(raw.body or b"", raw.content_type, raw.content_encoding, raw.headers or {})
        )

    def reply(self, exchange: str, routing_key: str, message: Message) -> None:
        """To the queues that are bound to what the request named."""
        self._publish(exchange, routing_key, message)

    def publish(self, routing_key: str, message: Message) -> None:
        """To the exchange of events."""
        self._publish(self._conf.event_exchange, routing_key, message)

    def probe(self, message: Message) -> None:
        """Whether any queue is bound to the exchange of events."""
        self._guarded(
            lambda: self._owner.on_listeners(len(self._channel.get_table(self._conf.event_exchange)))
        )

    def _publish(self, exchange: str, routing_key: str, message: Message) -> None:
        channel = self._channel
        prepared = channel.prepare_message(
            message.body,
            priority=0,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            headers=message.headers,
            properties={
                "delivery_mode": 1,
                "delivery_info": {"exchange": exchange, "routing_key": routing_key},
            },
        )
        self._guarded(lambda: channel.basic_publish(prepared, exchange=exchange, routing_key=routing_key))

    def _guarded(self, action: Any) -> None:
        try:
            action()
        except TimeoutError:
            pass
        except Exception as error:
            self._owner.on_lost(error)

    def flush(self) -> None:
        """Everything is written at once."""

    def overdue(self) -> bool:
        """There is no server to owe anything."""
        return False

    def close(self) -> None:
        """Disconnect."""
        if self._timer is not None:
            self._timer.cancel()
        with contextlib.suppress(Exception):
            self._connection.close()
