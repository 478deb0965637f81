"""Publishing many messages on one connection: few writes, and one wait at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.broker.lines import Line

#: Messages in one command to Redis.
_IN_ONE_COMMAND = 500


@contextmanager
def batch(line: Line) -> Iterator[Callable[..., Any]]:
    """A function to publish with; the broker has everything at the end of the block.

    Redis gets all in one write, SQLite in few transactions.  RabbitMQ confirms all of them: BrokerError if it
    refuses one.
    """
    channel = line.channel
    if line.connection.transport.driver_type == "amqp":
        from taskyard.client.confirmed import Confirmed

        own = line.connection.channel()
        try:
            publish = Confirmed(own)
            yield publish
            publish.wait()
        finally:
            own.close()
    elif hasattr(channel, "plain"):
        pushes = _RedisBatch(channel)
        yield partial(channel.basic_publish, _publish_batch=pushes)
        pushes.send()
    elif hasattr(channel, "bulk"):
        with channel.bulk():
            yield channel.basic_publish
    else:
        yield channel.basic_publish


class _RedisBatch:
    """Collects what kombu's Redis channel would send one by one (its `_publish_batch`)."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._pushes: dict[bytes, list[Any]] = {}
        self._others: list[tuple[str, tuple[Any, ...]]] = []

    def push(self, key: bytes, message: Any) -> None:
        """A message for a list, by its whole key; those for one list become one command."""
        self._pushes.setdefault(key, []).append(message)

    def add(self, command: str, *args: Any) -> None:
        """Any other command of kombu's."""
        self._others.append((command, args))

    def send(self) -> None:
        """Write everything and wait for the replies."""
        pipeline = self._channel.plain.pipeline(transaction=False)
        for key, messages in self._pushes.items():
            for start in range(0, len(messages), _IN_ONE_COMMAND):
                pipeline.execute_command("LPUSH", key, *messages[start : start + _IN_ONE_COMMAND])
        pipeline.execute()
        if self._others:
            pipeline = self._channel.client.pipeline(transaction=False)
            for command, args in self._others:
                getattr(pipeline, command)(*args)
            pipeline.execute()
