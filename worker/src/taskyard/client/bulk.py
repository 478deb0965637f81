"""Publishing many messages on one connection: few writes, and one wait at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from taskyard.errors import BrokerError

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
        with _confirmed(line.connection.channel()) as publish:
            yield publish
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


@contextmanager
def _confirmed(channel: Any) -> Iterator[Callable[..., Any]]:
    """Publish on a new channel, whose delivery tags count from 1, and wait for the last one's
    confirmation.
    """
    published = 0
    open_tags: set[int] = set()
    refused = 0

    def publish(*args: Any, **options: Any) -> None:
        nonlocal published
        options.pop("confirm_timeout", None)
        published += 1
        open_tags.add(published)
        channel._basic_publish(*args, **options)

    def settled(tag: int, multiple: bool) -> int:
        told = {each for each in open_tags if each <= tag} if multiple else {tag}
        open_tags.difference_update(told)
        return len(told)

    def nacked(tag: int, multiple: bool) -> None:
        nonlocal refused
        refused += settled(tag, multiple)

    try:
        channel.confirm_select()
        channel.events["basic_ack"].add(settled)
        channel.events["basic_nack"].add(nacked)
        yield publish
        while open_tags:
            channel.connection.drain_events()
        if refused:
            raise BrokerError(f"RabbitMQ refused {refused} of {published} messages")
    finally:
        channel.close()
