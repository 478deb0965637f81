"""ForkGuard: a process is copied only while none of its threads is in the middle of something.

What a thread holds when its process is copied (the lock of a module it imports, of a connection) stays held
in the copy for ever.
"""

from __future__ import annotations

import sys
import threading
from time import monotonic
from typing import Any

#: Seconds that the loop waits for a thread before it copies the process all the same.
_PATIENCE_SECONDS = 2.0
#: The same while a module is being imported: that ends by itself, only late on a busy machine.
_IMPORT_SECONDS = 20.0


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
        self._held = [lock for lock in self._locks if _acquired(lock)]

    def __exit__(self, *error: object) -> None:
        for lock in self._held:
            lock.release()
        self._held = []


def _acquired(lock: Any) -> bool:
    end = monotonic() + _IMPORT_SECONDS
    held: bool = lock.acquire(timeout=_PATIENCE_SECONDS)
    while not held and _others_import() and monotonic() < end:
        held = lock.acquire(timeout=0.1)
    return held


def _others_import() -> bool:
    """Whether another thread is in the middle of an import: a copy could never import that module."""
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    owners = {getattr(known(), "owner", None) for known in list(locks.values())}
    return bool(owners - {None, threading.get_ident()})
