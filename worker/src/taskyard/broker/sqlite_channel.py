"""kombu's channel over the SQLite session."""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from math import ceil
from typing import Any

from kombu.utils.scheduling import cycle_by_name

from taskyard.broker.burial import Burial
from taskyard.broker.envelope import COUNT, Envelope, mark_redelivered
from taskyard.broker.qos import Held, QoS
from taskyard.broker.sqlite_queues import QueueChannel
from taskyard.broker.sqlite_store import Row, Store

logger = logging.getLogger(__name__)

BATCH = 100
"""Most messages that one turn takes, so that a crowd of consumers shares a queue."""


class Channel(Burial, QueueChannel):
    """A channel whose messages are leased rows; the delivery tag is the row's number."""

    QoS = QoS
    from_transport_options = (
        *QueueChannel.from_transport_options,
        "dead_letters",
        "queue_order_strategy",
    )
    queue_order_strategy = "round_robin"

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        self._inbox: deque[Row] = deque()
        self._receivers: dict[str, tuple[Callable[[Any], Any], bool]] = {}
        self._more = False
        super().__init__(connection, **kwargs)
        self._queue_cycle = cycle_by_name(self.queue_order_strategy)()

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[[Any], Any], consumer_tag: str, **kwargs: Any
    ) -> Any:
        """Take from the queue and call back with each message."""
        self.session.introduce()
        result = super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        self._receivers[queue] = callback, no_ack
        self._queue_cycle.update(list(dict.fromkeys(self._active_queues)))
        self.connection.consuming(self)
        return result

    def basic_cancel(self, consumer_tag: str) -> None:
        """Take nothing more; what was taken but not handed over is back in the queue when this returns."""
        queue = self._tag_to_queue.get(consumer_tag)
        super().basic_cancel(consumer_tag)
        if queue is None or queue in self._active_queues:
            return
        self._receivers.pop(queue, None)
        self._queue_cycle.update(list(dict.fromkeys(self._active_queues)))
        unwanted = [row for row in self._inbox if row.queue == queue]
        if unwanted:
            self._inbox = deque(row for row in self._inbox if row.queue != queue)
            self.give_back([(str(row.id), Held(row.queue, row.envelope)) for row in unwanted])
        self.flush()

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False) -> None:
        """Hold ``prefetch_count`` messages at most; 0 is no limit."""
        self.qos.prefetch_count = prefetch_count or 0

    def ready_to_settle(self) -> None:
        """Take over now what an earlier session of this process has left; consuming does the same."""
        self.session.introduce()
        self.connection.take_over(self)

    @property
    def held(self) -> int:
        """How many messages are taken and not settled, handed over or not."""
        return len(self.qos._delivered) + len(self._inbox)

    @property
    def _room(self) -> int:
        limit = self.qos.prefetch_count
        return min(BATCH, limit - self.held) if limit else BATCH

    def woken(self) -> None:
        """There may be messages."""
        self._more = bool(self._receivers)

    def wants(self, store: Store) -> bool:
        """Whether there is room and something to take."""
        if not self._more or self._room <= 0:
            return False
        self._more = store.any_ready(self._queue_cycle.consume(len(self._receivers)))
        return self._more

    def take(self, store: Store, worker: str) -> list[Row]:
        """Lease as many messages as there is room for, shared among the queues."""
        queues = list(self._queue_cycle.consume(len(self._receivers)))
        left = self._room
        taken: list[Row] = []
        shares = [1] * len(queues) if self.queue_order_strategy == "round_robin" else []
        for at, queue in enumerate(queues if len(shares) > 1 else ()):
            rows = store.take(worker, queue, ceil(left / (len(queues) - at)))
            taken += rows
            left -= len(rows)
        for queue in queues:
            if left > 0:
                rows = store.take(worker, queue, left)
                taken += rows
                left -= len(rows)
        self._more = left <= 0
        return taken

    def received(self, rows: list[Row]) -> None:
        """The lease on these is certain now."""
        self._inbox.extend(rows)
        for queue in dict.fromkeys(row.queue for row in rows):
            self._queue_cycle.rotate(queue)

    def deliver(self) -> int:
        """Hand over what was taken; returns how many messages."""
        delivered = 0
        while self._inbox:
            row = self._inbox.popleft()
            receiver = self._receivers.get(row.queue)
            if receiver is None:
                self.give_back([(str(row.id), Held(row.queue, row.envelope))])
                continue
            message = self._message(row)
            if message is None:
                continue
            callback, no_ack = receiver
            if no_ack:
                self.qos.ack(str(row.id))
            callback(message)
            delivered += 1
        return delivered

    def _message(self, row: Row) -> Any:
        """The message for a consumer, now held; None when it went elsewhere."""

        def mark(envelope: Envelope) -> bool:
            mark_redelivered(envelope)
            if row.lost:
                envelope["headers"][COUNT] = row.lost
            return bool(row.lost)

        return self._open_message(str(row.id), row.queue, row.envelope, mark if row.redelivered else None)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """One message of the queue at once, or None."""
        session = self.session
        session.introduce()
        message = None
        while message is None:
            if not session.store.any_ready([queue]):
                return None
            with session.store.transaction():
                rows = session.store.take(session.worker, queue, 1)
            if rows:
                message = self._message(rows[0])
        if no_ack:
            self.qos.ack(message.delivery_tag)
        return message

    def settle_ack(self, tag: str) -> None:
        """Acknowledge; written with the others of this turn."""
        if tag.isdigit():
            self.session.ack(int(tag))
            self._flush_if_idle()

    def give_back(self, messages: Iterable[tuple[str, Held]]) -> None:
        """Ready again, at their old places."""
        session = self.session
        for tag, held in messages:
            if held.queue is not None:
                number = int(tag)
                session.settle(
                    lambda number=number: session.store.give_back(session.worker, number),  # type: ignore[misc]
                    held.queue,
                )
        self._flush_if_idle()

    def defer(self, delivery_tag: str, due: datetime | float) -> None:
        """Keep a held message in the broker until ``due`` (aware datetime or unix seconds)."""
        held = self._release(delivery_tag)
        if held is None or held.queue is None:
            return
        session, number = self.session, int(delivery_tag)
        moment = due.timestamp() if isinstance(due, datetime) else float(due)
        session.settle(lambda: session.store.defer(session.worker, number, moment))
        session.expect_due(moment)
        self._flush_if_idle()

    def _move_dead(self, tag: str, target: str, text: bytes) -> None:
        session, number = self.session, int(tag)
        session.settle(lambda: session.store.move(session.worker, number, target, text), target)
        self._flush_if_idle()

    def _flush_if_idle(self) -> None:
        """Outside of a loop nobody would write it later."""
        if self.connection is not None and not self.connection.in_turn:
            self.flush()

    def flush(self) -> None:
        """Write all settlements; they are done when this returns."""
        self.session.flush()

    def _restore(self, message: Any) -> None:
        self.qos.reject(message.delivery_tag, requeue=True)

    def give_back_all(self) -> None:
        """Everything held or taken is ready again when this returns."""
        if self.session.usable:
            waiting = [(str(row.id), Held(row.queue, row.envelope)) for row in self._inbox]
            self._inbox.clear()
            held = list(self.qos._delivered.items())
            self.qos._delivered.clear()
            self.give_back(held + waiting)
            self.flush()

    def close(self) -> None:
        """Give back everything held, then close."""
        if not self.closed:
            transport = self.connection
            try:
                self._receivers.clear()
                if self.do_restore and self._qos is not None:
                    self._qos.restore_unacked_once()
                self._drop_own_queues()
            except transport.connection_errors as error:
                logger.info("not everything could be given back: %s", error)
            finally:
                transport.release(self)
        super().close()
