"""The queue to which workers reply with results: declared before a task is sent, read by whoever waits.

The queue is Celery's: named by the sender's oid, durable, deleted with its last consumer, x-expires after the
life of results.  One thread reads for all that wait in this process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from taskyard.broker.addresses import Addresses, addresses_for
from taskyard.broker.connection import connect_as_configured
from taskyard.result.states import READY_STATES

if TYPE_CHECKING:
    from taskyard.result.backends.rpc import RPCBackend

logger = logging.getLogger(__name__)

#: Results that are kept for somebody who may ask.
_MOST_REPLIES = 8192
#: Messages that are read at once.
_BATCH = 1000
#: Lost connections in a row after which a waiter gets the error.
_MOST_ATTEMPTS = 20


class ReplyQueue:
    """The replies of one process."""

    def __init__(self, backend: RPCBackend) -> None:
        self._backend = backend
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Condition()
        #: One thread at a time may use the connection.
        self._reading = False
        #: Counts what was read, so that waiters know that there is news.
        self.generation = 0
        self._names: set[str] = set()
        self._wanted: set[str] = set()
        self._addresses: Addresses | None = None
        self._connection: Any = None
        self._consumer: Any = None
        #: The last known state of each task, the oldest first.
        self._replies: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._attempts = 0

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            self._reset()

    def want(self, name: str) -> None:
        """Let the queue exist before this returns; costs nothing from the second time on."""
        if self._pid == os.getpid() and name in self._names:
            return
        self._after_fork()
        self._wanted.add(name)
        while name not in self._names:
            if not self._take_turn(0.05):
                continue
            try:
                self._open()
            except Exception as error:
                self._lost(error)
            finally:
                self._end_turn()

    @property
    def wanted(self) -> bool:
        """Whether this process has asked for a queue."""
        return self._pid == os.getpid() and bool(self._wanted)

    def latest(self, task_id: str) -> dict[str, Any] | None:
        """What is known of a task."""
        return self._replies.get(task_id)

    def forget(self, task_id: str) -> None:
        """Drop what is known."""
        self._replies.pop(task_id, None)

    def read(self, seen: int, seconds: float) -> None:
        """Read what has come; wait up to `seconds` while there is nothing newer than `seen`."""
        self._after_fork()
        deadline = time.monotonic() + seconds
        if self.generation != seen or not self._take_turn(seconds):
            return
        try:
            self._open()
            self._drain(max(deadline - time.monotonic(), 0))
            self._attempts = 0
        except Exception as error:
            self._lost(error)
        finally:
            self._end_turn()

    def _take_turn(self, seconds: float) -> bool:
        with self._lock:
            if self._reading:
                self._lock.wait(seconds)
                return False
            self._reading = True
            return True

    def _end_turn(self) -> None:
        with self._lock:
            self._reading = False
            self._lock.notify_all()

    def _open(self) -> None:
        if self._connection is None:
            conf = self._backend.app.conf
            if self._addresses is None:
                self._addresses = addresses_for(conf, write=False)
            self._connection = connect_as_configured(conf, self._addresses.current)
            self._connection.connect()
            self._names.clear()
        wanted = set(self._wanted)  # others may add to it meanwhile
        if wanted <= self._names:
            return
        from kombu import Consumer

        queues = [self._backend.binding_of(name) for name in wanted]
        if self._consumer is None:
            self._consumer = Consumer(
                self._connection.channel(),
                queues,
                callbacks=[self._received],
                no_ack=True,
                accept=self._backend.payload.accept,
            )
        else:
            for queue in queues:
                if not self._consumer.consuming_from(queue):
                    self._consumer.add_queue(queue)
        self._consumer.consume()
        self._names.update(wanted)

    def _drain(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            self._connection.drain_events(timeout=max(seconds, 0.001))
            for _ in range(_BATCH):
                self._connection.drain_events(timeout=0.0001)

    def _received(self, meta: Any, message: Any) -> None:
        self.generation += 1
        task_id = message.properties.get("correlation_id") or meta.get("task_id")
        known = self._replies.get(task_id)
        if known is not None and known["status"] in READY_STATES and meta["status"] not in READY_STATES:
            return
        self._replies[task_id] = self._backend.meta_from_decoded(meta)
        self._replies.move_to_end(task_id)
        if len(self._replies) > _MOST_REPLIES:
            self._replies.popitem(last=False)

    def _lost(self, error: Exception) -> None:
        connection, self._connection, self._consumer = self._connection, None, None
        self._names.clear()
        if connection is not None:
            known = (*connection.connection_errors, *connection.channel_errors, OSError)
            with contextlib.suppress(Exception):  # a connection that is broken may fail to close
                connection.collect()
            if not isinstance(error, known):
                raise error
        self._attempts += 1
        if self._attempts > _MOST_ATTEMPTS:
            raise error
        logger.warning("The connection to the reply queue is lost (%s), made anew", error)
        if self._addresses is not None:
            self._addresses.failed()
        time.sleep(min(self._attempts * 0.1, 1.0))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None and self._pid == os.getpid():
            self._connection.collect()
        self._reset()
