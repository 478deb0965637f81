"""What the tests of brokers say often."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from kombu import Connection, Consumer, Producer, Queue


class Reader:
    """A consumer that collects messages; ``ack`` settles each at once."""

    def __init__(
        self,
        connection: Connection,
        *queues: str,
        prefetch: int = 0,
        ack: bool = False,
        on_message: Callable[[Any], Any] | None = None,
    ) -> None:
        self.connection = connection
        self.channel = connection.channel()
        self.messages: list[Any] = []
        self._ack = ack
        self._on_message = on_message
        self.channel.basic_qos(0, prefetch, False)
        self.consumer = Consumer(
            self.channel, [plain(queue) for queue in queues], on_message=self._receive, accept=["json"]
        )
        self.consumer.consume()

    def _receive(self, message: Any) -> None:
        self.messages.append(message)
        if self._on_message is not None:
            self._on_message(message)
        if self._ack:
            message.ack()

    @property
    def values(self) -> list[Any]:
        """The decoded bodies so far."""
        return [message.decode() for message in self.messages]

    def read(self, count: int, seconds: float = 20) -> list[Any]:
        """Wait until ``count`` messages have come in all; returns their values."""
        until(self.connection, lambda: len(self.messages) >= count, seconds)
        assert len(self.messages) == count, self.values
        return self.values

    def silent(self, seconds: float = 0.4) -> bool:
        """Whether no further message comes for a while."""
        before = len(self.messages)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            drain(self.connection, 0.1)
        return len(self.messages) == before


def plain(name: str) -> Queue:
    """A queue as Celery declares it."""
    return Queue(name, exchange=name, routing_key=name)


def send(connection: Connection, queue: str, values: Iterable[Any], **properties: Any) -> None:
    """Publish to the queue by its name, as Celery does."""
    with connection.channel() as channel:
        producer = Producer(channel)
        for value in values:
            producer.publish(value, serializer="json", exchange="", routing_key=queue, **properties)


def drain(connection: Connection, seconds: float) -> bool:
    """Handle what comes; False when nothing came."""
    try:
        connection.drain_events(timeout=seconds)
    except TimeoutError:
        return False
    return True


def until(connection: Connection, done: Callable[[], bool], seconds: float = 20) -> None:
    """Drain until the condition holds."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        drain(connection, 0.2)
