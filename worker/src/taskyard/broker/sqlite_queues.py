"""Publishing, queues and bindings in SQLite."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from kombu.transport import virtual

from taskyard.broker.envelope import Envelope, dumps
from taskyard.broker.sqlite_session import Session

#: Messages of a bulk in one transaction: others get their turn in between.
_AT_ONCE: Final = 1000


class QueueChannel(virtual.Channel):  # type: ignore[misc]
    """A virtual channel, as far as it does not consume."""

    supports_fanout = True

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        self._own_queues: set[str] = set()
        self._bulk: list[tuple[str, int, bytes]] | None = None
        super().__init__(connection, **kwargs)
        self.session: Session = connection.session

    def _put(self, queue: str, message: Envelope, **kwargs: Any) -> None:
        store = self.session.store
        priority, text = self._get_message_priority(message, reverse=False), dumps(message)
        if self._bulk is not None:
            self._bulk.append((queue, priority, text))
            return
        with store.transaction():
            store.put(queue, priority, text)
        self.session.bell.ring(queue)

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """What is published to queues in this block is written at its end, in few transactions."""
        rows: list[tuple[str, int, bytes]] = []
        self._bulk = rows
        try:
            yield
        finally:
            self._bulk = None
        store = self.session.store
        for start in range(0, len(rows), _AT_ONCE):
            with store.transaction():
                store.put_many(rows[start : start + _AT_ONCE])
        for queue in {queue for queue, _, _ in rows}:
            self.session.bell.ring(queue)

    def _put_fanout(self, exchange: str, message: Envelope, routing_key: str, **kwargs: Any) -> None:
        store, text = self.session.store, dumps(message)
        queues = {queue for _, _, queue in store.bindings(exchange)}
        with store.transaction():
            for queue in queues:
                store.put(queue, 0, text)
        for queue in queues:
            self.session.bell.ring(queue)

    def _new_queue(self, queue: str, auto_delete: bool = False, **kwargs: Any) -> None:
        owner = None
        if auto_delete:
            self.session.introduce()
            self._own_queues.add(queue)
            owner = self.session.worker
        if not self.session.store.is_declared(queue):
            with self.session.store.transaction():
                self.session.store.declare(queue, owner)

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        return self.session.store.has_queue(queue)

    def _size(self, queue: str) -> int:
        return self.session.store.size(queue)

    def _purge(self, queue: str) -> int:
        with self.session.store.transaction():
            return self.session.store.purge(queue)

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any
    ) -> None:
        """Delete a queue with all its messages and bindings."""
        if if_empty and self._size(queue):
            return
        self.state.queue_bindings_delete(queue)
        self._own_queues.discard(queue)
        with self.session.store.transaction():
            self.session.store.delete_queue(queue)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        with self.session.store.transaction():
            self.session.store.bind(exchange, routing_key or "", pattern or "", queue)

    def queue_unbind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: Any = None,
        **kwargs: Any,
    ) -> None:
        """Remove a binding."""
        self.state.binding_delete(queue, exchange, routing_key)
        with self.session.store.transaction():
            self.session.store.unbind(exchange or "", routing_key, queue)

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        """The bindings of an exchange, whoever made them."""
        return self.session.store.bindings(exchange)

    def _drop_own_queues(self) -> None:
        if self._own_queues and self.session.usable:
            with self.session.store.transaction():
                for queue in self._own_queues:
                    self.session.store.delete_queue(queue)
