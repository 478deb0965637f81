"""A SQLite file that many processes share: its tables, its transactions, its errors, and forks."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any, Final

from kombu.exceptions import OperationalError

from taskyard.forking import ignore_forks, rest_while_forking

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


class UnusableDatabaseError(OperationalError):  # type: ignore[misc]
    """The file cannot serve as a broker, and trying again will not help."""


class DatabaseBusyError(OperationalError):  # type: ignore[misc]
    """Others have kept the database locked for too long; a later attempt may succeed."""


class DatabaseFile:
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
        rest_while_forking(self)
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

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        ignore_forks(self)
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
