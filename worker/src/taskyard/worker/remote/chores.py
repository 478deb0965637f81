"""Chores: what may wait for a server and is nobody's hurry, on one thread that exists when it is needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from queue import SimpleQueue
from typing import Any

logger = logging.getLogger("taskyard.worker")


class Chores:
    """Does one after the other; what one raises is logged."""

    def __init__(self, guard: AbstractContextManager[Any]) -> None:
        """`guard` is held while it works."""
        self._guard = guard
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, chore: Callable[[], None]) -> None:
        """Do it soon."""
        self._queue.put(chore)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="chores", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while (chore := self._queue.get()) is not None:
            try:
                with self._guard:
                    chore()
            except Exception as error:
                logger.warning("Remote control: %s", error)

    def close(self, seconds: float) -> None:
        """Finish what is left, at most so many seconds."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(seconds)
            self._thread = None
