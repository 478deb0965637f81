"""Revocations kept where every worker finds them, with a time to live.

Redis (the broker, or the result backend beside RabbitMQ): sorted sets `taskyard:revoked` (task ids) and
`taskyard:revoked:stamps` (JSON [header, stamp]), the score is the unix second at which they are forgotten.
SQLite: the table taskyard_revoked in the broker's file.  Elsewhere only the workers' memory knows them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, closing
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from taskyard.app import App


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    try:
        return default if text is None else float(text)
    except ValueError:
        raise ImproperlyConfigured(f"{variable} must be a number, not {text!r}") from None


#: Seconds that a revocation is remembered: longer than most ETAs.
LIFE_SECONDS = _number("CELERY_WORKER_REVOKE_EXPIRES", 7 * 86400.0)
#: The most that are remembered, of tasks and of stamps each; the oldest are forgotten first.
MOST = int(_number("CELERY_WORKER_REVOKES_MAX", 50_000))

_IDS = "taskyard:revoked"
_STAMPS = "taskyard:revoked:stamps"

#: (header, stamp)
Stamp = tuple[str, str]


class Revoked(NamedTuple):
    """What is remembered: each with the unix second at which it is forgotten."""

    ids: dict[str, float]
    stamps: dict[Stamp, float]


class Revocations(Protocol):
    """Where revocations are kept; every call may wait for a server and raise its client's errors."""

    def add(self, ids: Iterable[str]) -> None:
        """Remember task ids."""

    def add_stamps(self, headers: Mapping[str, Any]) -> None:
        """Remember stamps: {header: stamp or stamps}."""

    def load(self) -> Revoked:
        """All that is remembered."""


def stamps_of(headers: Mapping[str, Any]) -> list[Stamp]:
    """(header, stamp) for each stamp; stamps are compared as text."""
    found = []
    for header, stamps in headers.items():
        several = isinstance(stamps, (list, tuple, set, frozenset))
        found += [(str(header), str(stamp)) for stamp in (stamps if several else [stamps])]
    return found


class NoRevocations:
    """Nowhere to keep them: workers have them in memory only."""

    def add(self, ids: Iterable[str]) -> None:
        """Nothing is kept."""

    def add_stamps(self, headers: Mapping[str, Any]) -> None:
        """Nothing is kept."""

    def load(self) -> Revoked:
        """Nothing."""
        return Revoked({}, {})


class RedisRevocations:
    """In two sorted sets of Redis."""

    def __init__(self, client: Callable[[], AbstractContextManager[Any]]) -> None:
        self._client = client

    def add(self, ids: Iterable[str]) -> None:
        """Remember task ids."""
        self._add(_IDS, ids)

    def add_stamps(self, headers: Mapping[str, Any]) -> None:
        """Remember stamps."""
        self._add(_STAMPS, (json.dumps(stamp) for stamp in stamps_of(headers)))

    def _add(self, key: str, members: Iterable[str]) -> None:
        now = time()
        scores = dict.fromkeys(members, now + LIFE_SECONDS)
        if not scores:
            return
        with self._client() as client:
            client.zadd(key, scores)
            client.execute_command("ZREMRANGEBYSCORE", _name(client, key), "-inf", now)
            client.execute_command("ZREMRANGEBYRANK", _name(client, key), 0, -MOST - 1)

    def load(self) -> Revoked:
        """All that is not forgotten."""
        with self._client() as client:
            ids, stamps = (
                {
                    _text(member): float(score)
                    for member, score in client.zrange(key, 0, -1, withscores=True)
                    if float(score) > time()
                }
                for key in (_IDS, _STAMPS)
            )
        return Revoked(ids, {tuple(json.loads(text)): until for text, until in stamps.items()})


def load_over(request: Callable[..., Any], prefix: str) -> Revoked:
    """All that is not forgotten, by `request` (a command's parts in bytes -> the reply) to a Redis."""
    found = []
    for key in (_IDS, _STAMPS):
        reply = request(b"ZRANGE", f"{prefix}{key}".encode(), b"0", b"-1", b"WITHSCORES")
        # RESP3 answers with pairs, RESP2 with members and scores in turn.
        pairs = reply if reply and isinstance(reply[0], list) else zip(reply[::2], reply[1::2], strict=True)
        found.append({_text(member): float(score) for member, score in pairs if float(score) > time()})
    ids, stamps = found
    return Revoked(ids, {tuple(json.loads(text)): until for text, until in stamps.items()})


def _text(member: Any) -> str:
    return member.decode() if isinstance(member, bytes) else str(member)


def _name(client: Any, key: str) -> str:
    """With the prefix that kombu's clients add to the commands they know, and only to those."""
    return f"{getattr(client, 'global_keyprefix', '')}{key}"


class SqliteRevocations:
    """In a table of the broker's file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def _open(self) -> Any:
        import sqlite3

        database = sqlite3.connect(self._path, timeout=10)
        database.execute(
            "CREATE TABLE IF NOT EXISTS taskyard_revoked "
            "(header TEXT NOT NULL, value TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (header, value))"
        )
        return closing(database)

    def add(self, ids: Iterable[str]) -> None:
        """Remember task ids."""
        self._add([("", task_id) for task_id in ids])

    def add_stamps(self, headers: Mapping[str, Any]) -> None:
        """Remember stamps."""
        self._add(stamps_of(headers))

    def _add(self, rows: list[Stamp]) -> None:
        until = time() + LIFE_SECONDS
        with self._open() as database, database:
            database.executemany(
                "INSERT OR REPLACE INTO taskyard_revoked VALUES (?, ?, ?)", [(*row, until) for row in rows]
            )
            database.execute("DELETE FROM taskyard_revoked WHERE until < ?", (time(),))

    def load(self) -> Revoked:
        """All that is not forgotten."""
        with self._open() as database:
            rows = database.execute(
                "SELECT header, value, until FROM taskyard_revoked WHERE until > ? ORDER BY until", (time(),)
            ).fetchall()
        return Revoked(
            {value: until for header, value, until in rows if not header},
            {(header, value): until for header, value, until in rows if header},
        )


def open_revocations(app: App, connection: Any) -> Revocations:
    """Where the app's broker keeps revocations; `connection` is an open kombu connection to it."""
    driver = connection.transport.driver_type
    if driver == "redis":
        return RedisRevocations(connection.default_channel.conn_or_acquire)
    if driver == "sqlite":
        return SqliteRevocations(connection.virtual_host)
    backend = app.conf.effective_result_backend() or ""
    if backend.startswith(("redis://", "rediss://")):
        return RedisRevocations(lambda: _client_of(backend))
    return NoRevocations()


def _client_of(url: str) -> AbstractContextManager[Any]:
    import redis

    client: AbstractContextManager[Any] = redis.Redis.from_url(
        url, socket_connect_timeout=4, socket_timeout=10
    )
    return client
