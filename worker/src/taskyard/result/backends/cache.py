"""Results in Memcached through pymemcache (cache+memcached://host:11211/), or in memory (cache+memory://)."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

from taskyard.errors import ImproperlyConfigured
from taskyard.result.backends.memory import MemoryBackend
from taskyard.result.key_value import KeyValueBackend
from taskyard.result.opening import needs_extra
from taskyard.result.states import SUCCESS

if TYPE_CHECKING:
    from taskyard.app import App

logger = logging.getLogger(__name__)

#: Memcached takes longer lives for dates.
_LONGEST_LIFE = 30 * 24 * 3600
#: Names that Celery has for the one client that there is.
_MEMCACHED = ("memcached", "memcache", "pymemcache", "pylibmc")
#: Options of pylibmc that have no meaning for pymemcache.
_FOREIGN_OPTIONS = ("behaviors", "binary")
#: Options of pymemcache's client that tries again.
_OF_RETRIES = {
    "retry_attempts": "attempts",
    "retry_delay": "retry_delay",
    "retry_for": "retry_for",
    "do_not_retry_for": "do_not_retry_for",
}


def CacheBackend(  # noqa: N802
    app: App, expires: Any = None, backend: str | None = None, url: str | None = None, **options: Any
) -> KeyValueBackend:
    """The store that the part after cache+ names."""
    options["expires"] = expires
    url = url or backend
    if not url or "://" not in url:
        url = app.conf.cache_backend or ""
    scheme = url.removeprefix("cache+").partition("://")[0]
    if scheme == "memory":
        return MemoryBackend(app, "cache+memory://", **options)
    if scheme in _MEMCACHED:
        return MemcachedBackend(app, url, **options)
    known = ", ".join(("memory", *_MEMCACHED))
    raise ImproperlyConfigured(f"cache backend {scheme!r} is not known: there are {known}")


class MemcachedBackend(KeyValueBackend):
    """One pool of connections a process; a success is never overwritten, by check and set."""

    supports_autoexpire = True
    supports_native_join = True
    supports_result_compression = True
    implements_incr = True

    def __init__(self, app: App, url: str | None = None, **options: Any) -> None:
        super().__init__(app, url, **options)
        _, _, servers = str(url).partition("://")
        self.servers = [server for server in servers.rstrip("/").split(";") if server]
        if not self.servers:
            raise ImproperlyConfigured(
                "the Memcached result backend needs a host: cache+memcached://host:11211/"
            )
        self._client: Any = None
        self._pid = 0

    def as_uri(self, include_password: bool = False) -> str:
        """All servers."""
        return f"cache+memcached://{';'.join(self.servers)}/"

    @property
    def client(self) -> Any:
        """pymemcache's client of this process."""
        if self._pid != os.getpid():
            self._client = self._open()
            self._pid = os.getpid()
        return self._client

    def _open(self) -> Any:
        try:
            from pymemcache.client.base import PooledClient
            from pymemcache.client.hash import HashClient
            from pymemcache.client.retrying import RetryingClient
        except ImportError:
            raise needs_extra("memcached", "pymemcache") from None
        given = dict(self.app.conf.cache_backend_options)
        retries = {ours: given.pop(name) for name, ours in _OF_RETRIES.items() if name in given}
        options = {
            "default_noreply": False,
            "connect_timeout": 5.0,
            "timeout": 5.0,
            **{name: value for name, value in given.items() if name not in _FOREIGN_OPTIONS},
        }
        if len(self.servers) > 1:
            client = HashClient(self.servers, use_pooling=True, **options)
        else:
            client = PooledClient(self.servers[0], **options)
        return RetryingClient(client, **retries) if retries.get("attempts") else client

    def exception_safe_to_retry(self, error: Exception) -> bool:
        """Lost connections."""
        return isinstance(error, (OSError, EOFError)) or type(error).__module__.startswith("pymemcache")

    def get(self, key: str) -> Any:
        """The bytes, or None."""
        return self.client.get(key)

    def mget(self, keys: list[str]) -> list[Any]:
        """The bytes of each key."""
        found = self.client.get_multi(keys)
        return [found.get(key) for key in keys]

    def set(self, key: str, value: bytes) -> Any:
        """Store for as long as results live."""
        return self.client.set(key, value, expire=life(self.expires))

    def delete(self, key: str) -> Any:
        """Remove."""
        return self.client.delete(key)

    def incr(self, key: str) -> int:
        """Count up by one what apply_chord has put there."""
        return int(self.client.incr(key, 1) or 0)

    def expire(self, key: str, seconds: float | None) -> Any:
        """Let a key live that long from now."""
        return self.client.touch(key, expire=life(seconds))

    def apply_chord(self, header_result_args: tuple[Any, ...], body: Any, **options: Any) -> None:
        """Memcached counts only what is there."""
        self.client.set(self.get_key_for_chord(header_result_args[0]), b"0", expire=life(self.chord_expires))
        super().apply_chord(header_result_args, body, **options)

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **options: Any,
    ) -> None:
        key = self.get_key_for_task(task_id)
        value = self.payload.encode(self.meta_of(task_id, result, state, traceback, request))
        expire = life(self.expires)
        while True:
            known, version = self.client.gets(key)
            if known is None:
                stored = self.client.add(key, value, expire=expire)
            elif self.decode(known)["status"] == SUCCESS:
                return
            else:
                stored = self.client.cas(key, value, version, expire=expire)
            if stored:
                return


def life(seconds: float | None) -> int:
    """Memcached's expiry for a life; what is longer than a month must be a date."""
    if not seconds:
        return 0
    return int(seconds) if seconds <= _LONGEST_LIFE else int(time.time() + seconds)
