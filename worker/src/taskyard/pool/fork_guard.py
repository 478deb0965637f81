"""ForkGuard: a process is copied only while none of its threads is in the middle of something.

What a thread holds when its process is copied (the lock of a module it imports, of a connection) stays held
in the copy for ever.
"""

from __future__ import annotations

import threading
from typing import Any

#: Seconds that the loop waits for a thread before it copies the process all the same.
_PATIENCE_SECONDS = 2.0


class ForkGuard:
    """To be held while the process is copied; the threads hold `lock` while they work."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._locks: list[Any] = [self.lock]
        self._held: list[Any] = []

    def add(self, lock: Any) -> None:
        """One more lock that some thread holds while it works."""
        self._locks.append(lock)

    def __enter__(self) -> None:
        self._held = [lock for lock in self._locks if lock.acquire(timeout=_PATIENCE_SECONDS)]

    def __exit__(self, *error: object) -> None:
        for lock in self._held:
            lock.release()
        self._held = []
