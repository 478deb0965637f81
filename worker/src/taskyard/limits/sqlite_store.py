"""Limits in an SQLite file: one transaction for each step, by the machine's clock."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import time, time_ns

from taskyard.forking import rest_while_forking
from taskyard.limits.store import SHARE_END, Claim, Entry, LimitStoreError, Share

_SCHEMA = """
CREATE TABLE IF NOT EXISTS claims (key TEXT PRIMARY KEY, owner TEXT, done INTEGER, until REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS slots (key TEXT, holder TEXT, until REAL, PRIMARY KEY (key, holder)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS line (key TEXT, waiter TEXT, since REAL, PRIMARY KEY (key, waiter)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shares (key TEXT, name TEXT, until REAL, PRIMARY KEY (key, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fences (key TEXT PRIMARY KEY, token INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS buckets (key TEXT PRIMARY KEY, full REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS booked (key TEXT, taker TEXT, at REAL, PRIMARY KEY (key, taker)) WITHOUT ROWID;
"""
#: Seconds after which a waiter or a booking that nobody came back for is dropped.
_FORGOTTEN = 3600.0


class SqliteStore:
    """See taskyard.limits.store.Store; for all processes of one machine, or of one process in memory."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        rest_while_forking(self)

    def claim(self, key: str, owner: str, life: float) -> Claim:
        """See Store."""
        with self._transaction() as (database, now):
            database.execute("DELETE FROM claims WHERE until <= ?", (now,))
            known = database.execute("SELECT owner, done FROM claims WHERE key = ?", (key,)).fetchone()
            if known is not None and (known[0] != owner or known[1]):
                return Claim(known[0], bool(known[1]))
            database.execute("REPLACE INTO claims VALUES (?, ?, 0, ?)", (key, owner, now + life))
            return Claim(owner, False)

    def keep_claim(self, key: str, owner: str, life: float, *, done: bool = False) -> bool:
        """See Store."""
        with self._transaction() as (database, now):
            query = "SELECT owner, done FROM claims WHERE key = ? AND until > ?"
            known = database.execute(query, (key, now)).fetchone()
            if known is not None and known[0] != owner:
                return False
            done = done or (known is not None and bool(known[1]))
            database.execute("REPLACE INTO claims VALUES (?, ?, ?, ?)", (key, owner, done, now + life))
            return True

    def drop_claim(self, key: str, owner: str) -> None:
        """See Store."""
        with self._transaction() as (database, _):
            database.execute("DELETE FROM claims WHERE key = ? AND owner = ?", (key, owner))

    def enter(
        self, key: str, limit: int, holder: str, waiter: str, lease: float, share: Share | None = None
    ) -> Entry:
        """See Store."""
        line = _line(key, share)
        with self._transaction() as (database, now):
            database.execute("DELETE FROM slots WHERE until <= ?", (now,))
            (taken,) = database.execute("SELECT count(*) FROM slots WHERE key = ?", (key,)).fetchone()
            if taken < limit and not (share and _is_anothers(database, now, key, limit, share)):
                database.execute("INSERT INTO slots VALUES (?, ?, ?)", (key, holder, now + lease))
                database.execute("DELETE FROM line WHERE key = ? AND waiter = ?", (line, waiter))
                waits = "SELECT 1 FROM line WHERE key = ? LIMIT 1"
                if share and database.execute(waits, (line,)).fetchone() is None:
                    database.execute("DELETE FROM shares WHERE key = ? AND name = ?", (key, share.name))
                last = database.execute("SELECT token FROM fences WHERE key = ?", (key,)).fetchone()
                token = max(time_ns() // 1000, (last[0] if last else 0) + 1)
                database.execute("REPLACE INTO fences VALUES (?, ?)", (key, token))
                return Entry(token, 0)
            if not waiter:
                return Entry(0, 0)
            if share:
                database.execute(
                    "REPLACE INTO shares VALUES (?, ?, ?)", (key, share.name, now + share.patience)
                )
            database.execute("DELETE FROM line WHERE since < ?", (now - _FORGOTTEN,))
            database.execute("INSERT OR IGNORE INTO line VALUES (?, ?, ?)", (line, waiter, now))
            query = (
                "SELECT count(*) FROM line WHERE key = :key AND since < "
                "(SELECT since FROM line WHERE key = :key AND waiter = :waiter)"
            )
            (place,) = database.execute(query, {"key": line, "waiter": waiter}).fetchone()
            return Entry(0, place)

    def renew(self, key: str, holder: str, lease: float) -> bool:
        """See Store."""
        with self._transaction() as (database, now):
            query = "UPDATE slots SET until = ? WHERE key = ? AND holder = ?"
            return database.execute(query, (now + lease, key, holder)).rowcount > 0

    def leave(self, key: str, holder: str) -> None:
        """See Store."""
        with self._transaction() as (database, _):
            database.execute("DELETE FROM slots WHERE key = ? AND holder = ?", (key, holder))

    def leave_line(self, key: str, waiter: str, share: Share | None = None) -> None:
        """See Store."""
        with self._transaction() as (database, _):
            database.execute("DELETE FROM line WHERE key = ? AND waiter = ?", (_line(key, share), waiter))

    def take(self, key: str, interval: float, burst: int, taker: str, longest: float | None) -> float:
        """See Store."""
        with self._transaction() as (database, now):
            mine = (key, taker)
            booked = database.execute("SELECT at FROM booked WHERE key = ? AND taker = ?", mine).fetchone()
            if booked is not None:
                if booked[0] <= now:
                    database.execute("DELETE FROM booked WHERE key = ? AND taker = ?", mine)
                    return 0.0
                return float(booked[0] - now)
            known = database.execute("SELECT full FROM buckets WHERE key = ?", (key,)).fetchone()
            full = max(known[0] if known else 0.0, now)
            at = full - (burst - 1) * interval
            if longest is not None and at - now > longest:
                return float(at - now)
            database.execute("DELETE FROM buckets WHERE full < ?", (now,))
            database.execute("REPLACE INTO buckets VALUES (?, ?)", (key, full + interval))
            if at <= now:
                return 0.0
            database.execute("DELETE FROM booked WHERE at < ?", (now - _FORGOTTEN,))
            database.execute("INSERT INTO booked VALUES (?, ?, ?)", (key, taker, at))
            return float(at - now)

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        """All or nothing; other processes wait."""
        with self._lock:
            try:
                database = self._open()
                database.execute("BEGIN IMMEDIATE")
                try:
                    yield database, time()
                except BaseException:
                    database.execute("ROLLBACK")
                    raise
                database.execute("COMMIT")
            except sqlite3.Error as error:
                raise LimitStoreError(f"limits in {self._path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(
                self._path, timeout=10.0, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.executescript(_SCHEMA)
        return self._connection

    def before_fork(self) -> None:
        """Close the file for a moment: SQLite's locks do not survive being copied into another process."""
        self._lock.acquire()
        if self._connection is not None and self._path != ":memory:":
            self._connection.close()
            self._connection = None

    def after_fork(self) -> None:
        """Go on, in either process."""
        self._lock.release()


def _line(key: str, share: Share | None) -> str:
    return f"{key}{SHARE_END}{share.name}" if share else key


def _is_anothers(database: sqlite3.Connection, now: float, key: str, limit: int, share: Share) -> bool:
    """Whether the free slot belongs to another share: this one has its equal part, and one that waits has
    less.
    """
    holders = database.execute("SELECT holder FROM slots WHERE key = ?", (key,))
    held = Counter(holder.partition(SHARE_END)[0] for (holder,) in holders)
    database.execute("DELETE FROM shares WHERE until <= ?", (now,))
    waiting = {name for (name,) in database.execute("SELECT name FROM shares WHERE key = ?", (key,))}
    part = max(1, limit // len({share.name, *held, *waiting}))
    return held[share.name] >= part and any(held[name] < part for name in waiting - {share.name})
