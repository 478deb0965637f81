"""The database file behind the SQLite transport: its tables and everything that is done with them.

A message stays in one row from publishing to acknowledgement, so nothing can be lost on the way:

- ready: ``worker`` and ``due`` are null; the order is priority (0 first, as on Redis), then age;
- leased: ``worker`` names who works on it; it is ready again, at its old place, when that worker is lost;
- scheduled: ``due`` says when (unix seconds) it becomes ready.

``envelope`` is the message as kombu's virtual transports write it. Clocks are the machine's own: SQLite's
locks do not reach further either.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any, Final
from weakref import WeakSet

from kombu.exceptions import OperationalError

FORMAT: Final = 1
OLDEST_SQLITE: Final = (3, 37, 0)
"""It has STRICT tables and UPDATE ... RETURNING."""

_SCHEMA: Final = f"""
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    worker TEXT,
    due REAL,
    lost INTEGER NOT NULL DEFAULT 0,
    redelivered INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX ready ON messages (queue, priority, id) WHERE worker IS NULL AND due IS NULL;
CREATE INDEX leased ON messages (worker) WHERE worker IS NOT NULL;
CREATE INDEX scheduled ON messages (due, queue) WHERE due IS NOT NULL;
CREATE TABLE workers (id TEXT PRIMARY KEY, beat REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE queues (name TEXT PRIMARY KEY, owner TEXT) STRICT, WITHOUT ROWID;
CREATE TABLE bindings (
    exchange TEXT, routing_key TEXT, pattern TEXT, queue TEXT,
    PRIMARY KEY (exchange, routing_key, pattern, queue)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = {FORMAT};
"""

_READY: Final = "worker IS NULL AND due IS NULL"
_TAKE: Final = """
UPDATE messages SET worker = ? WHERE id IN (
    SELECT id FROM messages WHERE queue = ? AND worker IS NULL AND due IS NULL ORDER BY priority, id LIMIT ?
) RETURNING priority, id, envelope, lost, redelivered
"""


class UnusableDatabaseError(OperationalError):  # type: ignore[misc]
    """The file cannot serve as a broker, and trying again will not help."""


class DatabaseBusyError(OperationalError):  # type: ignore[misc]
    """Others have kept the database locked for too long; a later attempt may succeed."""


@dataclass(frozen=True, slots=True)
class Row:
    """A leased message; ``lost`` counts the workers that were lost with it."""

    id: int
    queue: str
    envelope: bytes
    lost: int = 0
    redelivered: bool = False


class Store:
    """One process' connection to the file. Methods that change something belong into ``transaction``."""

    def __init__(self, path: str, *, busy_seconds: float = 10.0) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise UnusableDatabaseError(
                f"SQLite {sqlite3.sqlite_version} is too old: Taskyard needs 3.37, upgrade it or Python"
            )
        self.path = path if "://" in path else os.path.abspath(path)
        self.owner = os.getpid()
        self._busy_seconds = busy_seconds
        self._lock = RLock()
        self._open: sqlite3.Connection | None = None
        self._closed = False
        _stores.add(self)
        try:
            self._prepare()
        except sqlite3.Error as error:
            self.close()
            raise self._named(error) from error
        except BaseException:
            self.close()
            raise

    @property
    def _connection(self) -> sqlite3.Connection:
        """The connection, opened when it is first needed and again after a fork."""
        if self._open is None:
            if self._closed:
                raise sqlite3.OperationalError("the connection was closed")
            self._open = sqlite3.connect(
                self.path, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False
            )
            self._open.execute("PRAGMA journal_mode = WAL").fetchone()
            self._open.execute("PRAGMA synchronous = NORMAL")
        return self._open

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            (found,) = execute("PRAGMA user_version").fetchone()
            (tables,) = execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if not found and not tables:
                for statement in _SCHEMA.split(";\n"):
                    execute(statement)
            elif found != FORMAT:
                raise UnusableDatabaseError(
                    f"{self.path} is no broker of this version of Taskyard (format {found}, not {FORMAT}): "
                    "name another file"
                )
        except BaseException:
            execute("ROLLBACK")
            raise
        execute("COMMIT")

    def _named(self, error: sqlite3.Error) -> OperationalError:
        text = str(error)
        if "locked" in text or "busy" in text:
            return DatabaseBusyError(f"{self.path} has been locked by another process for too long")
        if isinstance(error, sqlite3.OperationalError) and "no such table" not in text:
            reason = f"cannot be opened for writing ({text}): check the path, its permissions and the disk"
        else:
            reason = f"is damaged or no database of Taskyard's ({text}): restore it or name another file"
        return UnusableDatabaseError(f"{self.path} {reason}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; other processes wait."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._named(error) from error

    def _read(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._connection.execute(statement, parameters).fetchall()
            except sqlite3.Error as error:
                raise self._named(error) from error

    # -- messages

    def put(self, queue: str, priority: int, envelope: bytes) -> None:
        """Add a message at the tail of a queue."""
        self.put_many([(queue, priority, envelope)])

    def put_many(self, messages: Sequence[tuple[str, int, bytes]]) -> None:
        """Add messages, each with its queue and priority, at the tails of their queues."""
        self._connection.executemany(
            "INSERT INTO messages (queue, priority, envelope) VALUES (?, ?, ?)", messages
        )

    def any_ready(self, queues: Sequence[str]) -> bool:
        """Whether there is something to take; takes no lock."""
        return any(
            self._read(f"SELECT 1 FROM messages WHERE queue = ? AND {_READY} LIMIT 1", (queue,))  # noqa: S608
            for queue in queues
        )

    def take(self, worker: str, queue: str, count: int) -> list[Row]:
        """Lease up to ``count`` messages."""
        rows = self._connection.execute(_TAKE, (worker, queue, count)).fetchall()
        rows.sort()
        return [Row(id, queue, envelope, lost, bool(again)) for _, id, envelope, lost, again in rows]

    def delete(self, worker: str, ids: Sequence[int]) -> int:
        """Delete acknowledged messages; returns how many were still the worker's."""
        return self._connection.executemany(
            "DELETE FROM messages WHERE id = ? AND worker = ?", [(each, worker) for each in ids]
        ).rowcount

    def give_back(self, worker: str, message: int) -> int:
        """Make a leased message ready again, where it stood; returns 1, or 0 if it was not the worker's."""
        return self._connection.execute(
            "UPDATE messages SET worker = NULL, redelivered = 1 WHERE id = ? AND worker = ?",
            (message, worker),
        ).rowcount

    def defer(self, worker: str, message: int, due: float) -> int:
        """Schedule a leased message; returns 1, or 0 if it was not the worker's."""
        return self._connection.execute(
            "UPDATE messages SET worker = NULL, due = ? WHERE id = ? AND worker = ?", (due, message, worker)
        ).rowcount

    def move(self, worker: str, message: int, queue: str, envelope: bytes) -> int:
        """Put a leased message anew into another queue; returns 1, or 0 if it was not the worker's."""
        done = self.delete(worker, [message])
        if done:
            self.put(queue, 0, envelope)
        return done

    def size(self, queue: str) -> int:
        """How many messages of a queue are ready."""
        query = f"SELECT count(*) FROM messages WHERE queue = ? AND {_READY}"  # noqa: S608
        return int(self._read(query, (queue,))[0][0])

    def purge(self, queue: str) -> int:
        """Delete the ready messages of a queue; returns how many."""
        query = f"DELETE FROM messages WHERE queue = ? AND {_READY}"  # noqa: S608
        return self._connection.execute(query, (queue,)).rowcount

    def ready_after(self, queue: str, after: int, count: int) -> list[Row]:
        """Ready messages of a queue by age, beginning behind an id; takes nothing."""
        query = f"SELECT id, envelope FROM messages WHERE queue = ? AND {_READY} AND id > ?"  # noqa: S608
        rows = self._read(query + " ORDER BY id LIMIT ?", (queue, after, count))
        return [Row(id, queue, envelope) for id, envelope in rows]

    def requeue_anew(self, queue: str, message: int, target: str, priority: int, envelope: bytes) -> int:
        """Put a ready message into another queue as if it had just come; returns 1, or 0 if it is gone."""
        done = self.delete_ready(queue, message)
        if done:
            self.put(target, priority, envelope)
        return done

    def delete_ready(self, queue: str, message: int) -> int:
        """Delete a message that nobody works on; returns 1, or 0 if it is gone."""
        query = f"DELETE FROM messages WHERE id = ? AND queue = ? AND {_READY}"  # noqa: S608
        return self._connection.execute(query, (message, queue)).rowcount

    # -- time

    def release_due(self, now: float) -> list[str]:
        """Make scheduled messages ready whose time has come; returns their queues."""
        rows = self._connection.execute(
            "UPDATE messages SET due = NULL WHERE due IS NOT NULL AND due <= ? RETURNING queue", (now,)
        ).fetchall()
        return sorted({queue for (queue,) in rows})

    def next_due(self) -> float | None:
        """When the next scheduled message becomes ready."""
        due: float | None = self._read("SELECT min(due) FROM messages WHERE due IS NOT NULL")[0][0]
        return due

    def beat(self, worker: str, now: float) -> None:
        """Note that a worker lives."""
        self._connection.execute("INSERT OR REPLACE INTO workers VALUES (?, ?)", (worker, now))

    def leave(self, worker: str) -> None:
        """Forget a worker; what it holds and its own queues are given up."""
        self._connection.execute("DELETE FROM workers WHERE id = ?", (worker,))

    def succeed(self, old: str, new: str, running: Sequence[int]) -> list[Row]:
        """Take over from an earlier worker of this process what still runs, and give back the rest."""
        execute = self._connection.execute
        adopted = []
        for each in running:
            adopted += execute(
                "UPDATE messages SET worker = ? WHERE id = ? AND worker = ? RETURNING id, queue, envelope",
                (new, each, old),
            ).fetchall()
        execute("UPDATE messages SET worker = NULL, redelivered = 1 WHERE worker = ?", (old,))
        self.leave(old)
        return [Row(*row) for row in adopted]

    def lost_workers(self, before: float) -> bool:
        """Whether there is anything for ``reclaim``; takes no lock."""
        query = (
            "SELECT 1 FROM workers WHERE beat < ? UNION ALL SELECT 1 FROM messages WHERE worker IS NOT NULL"
        )
        query += " AND worker NOT IN (SELECT id FROM workers) LIMIT 1"
        return bool(self._read(query, (before,)))

    def reclaim(self, before: float) -> list[str]:
        """Give back what lost workers hold; returns the queues that got something."""
        execute = self._connection.execute
        execute("DELETE FROM workers WHERE beat < ?", (before,))
        rows = execute(
            "UPDATE messages SET worker = NULL, lost = lost + 1, redelivered = 1 "
            "WHERE worker IS NOT NULL AND worker NOT IN (SELECT id FROM workers) RETURNING queue"
        ).fetchall()
        orphaned = "owner IS NOT NULL AND owner NOT IN (SELECT id FROM workers)"
        for (queue,) in execute(f"SELECT name FROM queues WHERE {orphaned}").fetchall():  # noqa: S608
            self.delete_queue(queue)
        return [queue for (queue,) in rows]

    # -- queues and bindings

    def declare(self, queue: str, owner: str | None) -> None:
        """Make a queue known; with an owner it goes when the owner does."""
        self._connection.execute("INSERT OR IGNORE INTO queues VALUES (?, ?)", (queue, owner))

    def is_declared(self, queue: str) -> bool:
        """Whether ``declare`` has made a queue known."""
        return bool(self._read("SELECT 1 FROM queues WHERE name = ?", (queue,)))

    def has_queue(self, queue: str) -> bool:
        """Whether a queue was declared or holds anything."""
        query = "SELECT 1 FROM queues WHERE name = ? UNION ALL SELECT 1 FROM messages WHERE queue = ? LIMIT 1"
        return bool(self._read(query, (queue, queue)))

    def delete_queue(self, queue: str) -> None:
        """Delete a queue with its messages and bindings."""
        for statement in (
            "DELETE FROM messages WHERE queue = ?",
            "DELETE FROM bindings WHERE queue = ?",
            "DELETE FROM queues WHERE name = ?",
        ):
            self._connection.execute(statement, (queue,))

    def bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Add a binding."""
        row = exchange, routing_key, pattern, queue
        self._connection.execute("INSERT OR IGNORE INTO bindings VALUES (?, ?, ?, ?)", row)

    def bindings(self, exchange: str) -> list[tuple[str, str, str]]:
        """Routing key, pattern and queue of each binding of an exchange."""
        query = "SELECT routing_key, pattern, queue FROM bindings WHERE exchange = ?"
        return [(key, pattern, queue) for key, pattern, queue in self._read(query, (exchange,))]

    def unbind(self, exchange: str, routing_key: str, queue: str) -> None:
        """Remove a binding."""
        self._connection.execute(
            "DELETE FROM bindings WHERE exchange = ? AND routing_key = ? AND queue = ?",
            (exchange, routing_key, queue),
        )

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        _stores.discard(self)
        if self._open is not None:
            self._open.close()
            self._open = None

    def before_fork(self) -> None:
        """Close the file for a moment: SQLite's locks do not survive being copied into another process."""
        self._lock.acquire()
        if self._open is not None:
            self._open.close()
            self._open = None

    def after_fork(self) -> None:
        """Go on, in either process."""
        self._lock.release()


_stores: WeakSet[Store] = WeakSet()
_forking: list[Store] = []


def _before_fork() -> None:
    for store in list(_stores):
        store.before_fork()
        _forking.append(store)


def _after_fork() -> None:
    while _forking:
        _forking.pop().after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
