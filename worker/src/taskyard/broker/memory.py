"""A broker in this process' memory, for tests: clients and workers (with the pools solo, threads and asyncio,
which have no processes of their own then) in threads of one process share it.

URLs: ``memory://``, and ``memory://name`` for brokers apart from each other. It is the SQLite broker without
a file: leases, priorities, delays, broadcasts and dead letters are the same. It ends with the process, and a
forked child does not see it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from threading import Lock, RLock
from typing import Any, Final
from weakref import WeakSet

from taskyard.broker.sqlite import Transport as SqliteTransport
from taskyard.broker.sqlite_store import Store, UnusableDatabaseError

__all__ = ["Transport"]


class _Memory:
    """One broker: its database, and who is to be woken."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.lock = RLock()
        self.bells: WeakSet[MemoryBell] = WeakSet()
        self._pid = os.getpid()

    def check(self) -> None:
        """Refuse to work in a forked child: what it saw would be a copy."""
        if self._pid != os.getpid():
            raise UnusableDatabaseError(
                "a memory:// broker lives in one process: take the pool solo, threads or asyncio in a "
                "thread of it, or sqlite:// as broker"
            )


_memories: dict[str, _Memory] = {}
_guard: Final = Lock()


def _memory(name: str) -> _Memory:
    with _guard:
        return _memories.setdefault(name, _memories.get(name) or _Memory())


class MemoryStore(Store):
    """The tables of `Store` in memory, over one connection for all threads."""

    def __init__(self, name: str) -> None:
        self._memory = _memory(name)
        super().__init__(f"memory://{name}")
        self._lock = self._memory.lock

    @property
    def _connection(self) -> sqlite3.Connection:
        self._memory.check()
        return self._memory.connection

    def _prepare(self) -> None:
        with self._memory.lock:
            super()._prepare()


class MemoryBell:
    """Wakes the threads that wait for messages of a queue."""

    def __init__(self, name: str) -> None:
        self._bells = _memory(name).bells
        self._queues: set[str] = set()
        self._fd: int | None = None

    def ring(self, queue: str) -> None:
        """Wake whoever waits for messages of the queue."""
        for bell in list(self._bells):
            if queue in bell._queues:
                bell._wake()

    def _wake(self) -> None:
        if self._fd is not None:
            with suppress(OSError):
                os.eventfd_write(self._fd, 1)

    def listen(self, queues: Iterable[str]) -> bool:
        """Listen for the queues."""
        if self._fd is None:
            self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._queues.update(queues)
        self._bells.add(self)
        return True

    def fileno(self) -> int | None:
        """The descriptor to wait on, if this session listens."""
        return self._fd

    def hear(self) -> None:
        """Forget what has rung so far."""
        if self._fd is not None:
            with suppress(BlockingIOError):
                os.eventfd_read(self._fd)

    def close(self) -> None:
        """Listen no more."""
        self._bells.discard(self)
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Transport(SqliteTransport):
    """The transport for ``memory://``."""

    driver_type = "memory"
    driver_name = "memory"

    def open_store(self) -> tuple[Any, Any]:
        """Of the broker that the URL names."""
        host, path = self.client.hostname or "", self.client.virtual_host or ""
        # kombu's copies of a connection without a host name "localhost".
        name = f"{'' if host == 'localhost' else host}/{path}".strip("/")
        return MemoryStore(name), MemoryBell(name)
