"""The database file behind the SQLite transport: its tables and everything that is done with them.

A message stays in one row from publishing to acknowledgement, so nothing can be lost on the way:

- ready: ``worker`` and ``due`` are null; the order is priority (0 first, as on Redis), then age;
- leased: ``worker`` names who works on it; it is ready again, at its old place, when that worker is lost;
- scheduled: ``due`` says when (unix seconds) it becomes ready.

``envelope`` is the message as kombu's virtual transports write it. Clocks are the machine's own: SQLite's
locks do not reach further either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from taskyard.broker.sqlite_file import DatabaseBusyError, DatabaseFile, UnusableDatabaseError

__all__ = ["DatabaseBusyError", "Row", "Store", "UnusableDatabaseError"]

_READY: Final = "worker IS NULL AND due IS NULL"
_TAKE: Final = """
UPDATE messages SET worker = ? WHERE id IN (
    SELECT id FROM messages WHERE queue = ? AND worker IS NULL AND due IS NULL ORDER BY priority, id LIMIT ?
) RETURNING priority, id, envelope, lost, redelivered
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A leased message; ``lost`` counts the workers that were lost with it."""

    id: int
    queue: str
    envelope: bytes
    lost: int = 0
    redelivered: bool = False


class Store(DatabaseFile):
    """What is done with the file. Methods that change something belong into ``transaction``."""

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
