"""Results in this process, for tests and for programs that run their tasks in threads of their own."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from taskyard.result.key_value import KeyValueBackend

if TYPE_CHECKING:
    from taskyard.app import App


class Memory:
    """Bytes under keys with a life, for all threads."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[Any, float | None]] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> Any:
        """The value, None if there is none or its life is over."""
        found = self._values.get(key)
        if found is None:
            return None
        value, until = found
        if until is not None and time.monotonic() > until:
            self._values.pop(key, None)
            return None
        return value

    def set(self, key: str, value: Any, seconds: float | None) -> None:
        """Keep for that long; None or 0: for ever."""
        self._values[key] = (value, time.monotonic() + seconds if seconds else None)

    def expire(self, key: str, seconds: float | None) -> None:
        """Give what is there another life."""
        value = self.get(key)
        if value is not None:
            self.set(key, value, seconds)

    def delete(self, key: str) -> None:
        """Remove."""
        self._values.pop(key, None)

    def incr(self, key: str) -> int:
        """Count up from what is there, or from 0."""
        with self._lock:
            value = int(self.get(key) or 0) + 1
            until = self._values.get(key, (None, None))[1]
            self._values[key] = (value, until)
            return value

    def sweep(self) -> None:
        """Drop what is over."""
        for key in list(self._values):
            self.get(key)


#: memory:// and cache+memory:// of one process are the same store.
SHARED = Memory()


class MemoryBackend(KeyValueBackend):
    """memory://: results of tasks that run in this process."""

    supports_native_join = True
    supports_result_compression = True
    implements_incr = True

    def __init__(self, app: App, url: str | None = None, **options: Any) -> None:
        super().__init__(app, url, **options)
        self.client = SHARED

    def get(self, key: str) -> Any:
        """The bytes, or None."""
        return self.client.get(key)

    def set(self, key: str, value: bytes) -> None:
        """Store for as long as results live."""
        self.client.set(key, value, self.expires)

    def delete(self, key: str) -> None:
        """Remove."""
        self.client.delete(key)

    def incr(self, key: str) -> int:
        """Count up by one."""
        return self.client.incr(key)

    def expire(self, key: str, seconds: float | None) -> None:
        """Let a key live that long from now."""
        self.client.expire(key, seconds)

    def cleanup(self) -> None:
        """Drop what has expired."""
        self.client.sweep()
