"""Dead letters on RabbitMQ: messages of a queue, taken one by one and given back by closing the channel."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from taskyard.broker.amqp_copy import LASTING, copy_of
from taskyard.broker.dead_letters.letter import DeadLetter, read_letter, revived_headers
from taskyard.broker.dead_letters.store import DeadLetterStore, Wanted, destination
from taskyard.broker.topology import declare_queue

if TYPE_CHECKING:
    from kombu import Connection


class AmqpDeadLetters(DeadLetterStore):
    """A letter is acknowledged after RabbitMQ has confirmed its copy in the queue that it goes to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._declared: set[str] = set()
        self._publisher: Any = None

    def size(self, queue: str) -> int:
        """How many messages are ready; 0 for a queue that does not exist."""
        channel = self._connection.channel()
        try:
            count = int(channel.queue_declare(queue=queue, passive=True).message_count)
        except self._connection.channel_errors as error:
            if getattr(error, "reply_code", None) != 404:
                raise
            return 0
        channel.close()
        return count

    def letters(self, queue: str, wanted: Wanted = Wanted()) -> Iterator[DeadLetter]:  # noqa: B008  frozen
        """They are out of the queue while they are looked at, and back in it afterwards."""
        found: list[DeadLetter] = []
        self._walk(queue, wanted, lambda channel, raw, letter: found.append(letter))
        return iter(found)

    def replay(self, queue: str, wanted: Wanted, target: str | None = None) -> int:
        """Publish, wait for the confirmation, acknowledge."""

        def back(channel: Any, raw: Any, letter: DeadLetter) -> None:
            self._publish(destination(letter, target), letter)
            channel.basic_ack(raw.delivery_info["delivery_tag"])

        return self._walk(queue, wanted, back)

    def purge(self, queue: str, wanted: Wanted) -> int:
        """Acknowledge."""
        return self._walk(
            queue,
            wanted,
            lambda channel, raw, letter: channel.basic_ack(raw.delivery_info["delivery_tag"]),
        )

    def _walk(self, queue: str, wanted: Wanted, act: Callable[[Any, Any, DeadLetter], None]) -> int:
        """Act on each letter that is wanted, among those that are there now; returns how many."""
        left, done = self.size(queue), 0
        channel = self._connection.channel()
        try:
            while left > 0 and (wanted.limit is None or done < wanted.limit):
                raw = channel.basic_get(queue=queue, no_ack=False)
                if raw is None:
                    break
                left -= 1
                letter = _letter(queue, raw)
                if wanted(letter):
                    act(channel, raw, letter)
                    done += 1
        finally:
            with contextlib.suppress(Exception):
                channel.close()
        return done

    def _publish(self, queue: str, letter: DeadLetter) -> None:
        if self._publisher is None:
            self._publisher = self._connection.channel()
        if queue not in self._declared:
            self._publisher = declare_queue(self._connection, self._publisher, queue)
            self._declared.add(queue)
        channel = self._publisher
        message = copy_of(letter, channel, revived_headers(letter.headers), LASTING)
        channel.basic_publish_confirm(message, exchange="", routing_key=queue, mandatory=True)

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(Exception):
            self._connection.close()


def _letter(queue: str, raw: Any) -> DeadLetter:
    properties = raw.properties
    body = raw.body.encode() if isinstance(raw.body, str) else bytes(raw.body)
    return read_letter(
        queue,
        properties.get("application_headers") or {},
        body,
        properties.get("content_type"),
        properties.get("content_encoding"),
        properties,
        str(properties.get("message_id") or raw.delivery_info["delivery_tag"]),
    )
