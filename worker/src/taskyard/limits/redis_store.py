"""Limits in Redis: one Lua script for each step, by the server's clock."""

from __future__ import annotations

import os
import threading
from functools import cache
from importlib.resources import files
from typing import Any

from taskyard.broker.connection import without_password
from taskyard.errors import ImproperlyConfigured
from taskyard.limits.store import Claim, Entry, LimitStoreError, Share

#: Before every key; the part in braces keeps the keys of one limit together on a Redis Cluster.
PREFIX = "taskyard:limit:"


class RedisStore:
    """See taskyard.limits.store.Store; safe to use from any thread and after a fork."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("redis+socket://", "unix://", 1)
        self._lock = threading.Lock()
        self._client: Any = None
        self._scripts: dict[str, Any] = {}
        self._pid = 0

    def claim(self, key: str, owner: str, life: float) -> Claim:
        """One script: claim.lua."""
        known = self._run("claim", [f"{PREFIX}{{{key}}}:once"], [owner, _ms(life)]).decode()
        return Claim(known[2:], known[0] == "d")

    def keep_claim(self, key: str, owner: str, life: float, *, done: bool = False) -> bool:
        """One script: keep.lua."""
        return bool(self._run("keep", [f"{PREFIX}{{{key}}}:once"], [owner, _ms(life), int(done)]))

    def drop_claim(self, key: str, owner: str) -> None:
        """One script: drop.lua."""
        self._run("drop", [f"{PREFIX}{{{key}}}:once"], [owner])

    def enter(
        self, key: str, limit: int, holder: str, waiter: str, lease: float, share: Share | None = None
    ) -> Entry:
        """One script: enter.lua."""
        base = f"{PREFIX}{{{key}}}"
        keys = [f"{base}:slots", _line(key, share), f"{base}:fence", f"{base}:shares"]
        name, patience = share or ("", 0.0)
        return Entry(*self._run("enter", keys, [limit, holder, waiter, _ms(lease), name, _ms(patience)]))

    def renew(self, key: str, holder: str, lease: float) -> bool:
        """One script: renew.lua."""
        return bool(self._run("renew", [f"{PREFIX}{{{key}}}:slots"], [holder, _ms(lease)]))

    def leave(self, key: str, holder: str) -> None:
        """One ZREM."""
        self._call("zrem", f"{PREFIX}{{{key}}}:slots", holder)

    def leave_line(self, key: str, waiter: str, share: Share | None = None) -> None:
        """One ZREM."""
        self._call("zrem", _line(key, share), waiter)

    def take(self, key: str, interval: float, burst: int, taker: str, longest: float | None) -> float:
        """One script: take.lua."""
        base = f"{PREFIX}{{{key}}}"
        wait = -1 if longest is None else int(longest * 1e6)
        arguments = [max(1, round(interval * 1e6)), burst, taker, wait]
        return float(self._run("take", [f"{base}:bucket", f"{base}:booked"], arguments)) / 1e6

    def _run(self, name: str, keys: list[str], arguments: list[Any]) -> Any:
        with _named(self._url):
            self._connect()
            return self._scripts[name](keys=keys, args=arguments)

    def _call(self, method: str, *arguments: Any) -> Any:
        with _named(self._url):
            return getattr(self._connect(), method)(*arguments)

    def _connect(self) -> Any:
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    try:
                        import redis
                    except ImportError:
                        raise ImproperlyConfigured(
                            "limits in Redis need its client: pip install taskyard[redis]"
                        ) from None
                    # A call that hangs would keep its task from starting or ending (seconds).
                    client = redis.Redis.from_url(self._url, socket_timeout=10, socket_connect_timeout=5)
                    self._scripts = {name: client.register_script(_source(name)) for name in _NAMES}
                    self._client = client
                    self._pid = os.getpid()
        return self._client


_NAMES = ("claim", "keep", "drop", "enter", "renew", "take")


@cache
def _source(name: str) -> str:
    return files("taskyard.limits").joinpath("redis_scripts", f"{name}.lua").read_text()


def _line(key: str, share: Share | None) -> str:
    return f"{PREFIX}{{{key}}}:line" + (f":{share.name}" if share else "")


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


class _named:  # noqa: N801  reads as the statement that it is
    """Redis' own connection errors as ours, with the URL."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None or kind.__module__.partition(".")[0] != "redis":
            return
        raise LimitStoreError(f"limits at {without_password(self._url)}: {error}") from error
