"""Dead letters in a database file: rows of a queue."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from taskyard.broker.dead_letters.letter import DeadLetter, revive
from taskyard.broker.dead_letters.store import ScannedStore, destination, from_envelope
from taskyard.broker.envelope import dumps

if TYPE_CHECKING:
    from kombu import Connection


class SqliteDeadLetters(ScannedStore):
    """A letter that goes back is the same row in another queue."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel: Any = connection.channel()
        self._session = self._channel.session

    def size(self, queue: str) -> int:
        """How many rows are ready."""
        return int(self._session.store.size(queue))

    def scan(self, queue: str) -> Iterator[tuple[Any, DeadLetter]]:
        """In the order they would be served."""
        after = 0
        while True:
            rows = self._session.store.ready_after(queue, after, 200)
            for row in rows:
                after = row.id
                yield row, from_envelope(queue, row.envelope)[0]
            if len(rows) < 200:
                return

    def put_back(self, queue: str, found: Sequence[tuple[Any, DeadLetter]], target: str | None) -> int:
        """In one transaction."""
        store, done, queues = self._session.store, 0, set()
        with store.transaction():
            for row, letter in found:
                back = destination(letter, target)
                envelope = revive(from_envelope(queue, row.envelope)[1], back)
                priority = self._channel._get_message_priority(envelope, reverse=False)
                done += store.requeue_anew(queue, row.id, back, priority, dumps(envelope))
                queues.add(back)
        for each in queues:
            self._session.bell.ring(each)
        return done

    def remove(self, queue: str, found: Sequence[tuple[Any, DeadLetter]]) -> int:
        """In one transaction."""
        store = self._session.store
        with store.transaction():
            return sum(store.delete_ready(queue, row.id) for row, _ in found)

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(Exception):
            self._connection.close()
