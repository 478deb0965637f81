"""ChordSweeper: sends the bodies of chords whose last part was brought by a worker that is gone.

It also fails chords before their parts expire; both as far as the result store keeps records of chords.
"""

from __future__ import annotations

import logging
import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.loop import Loop

logger = logging.getLogger(__name__)

#: Seconds between two looks of one worker.
INTERVAL_SECONDS = 30.0


class ChordSweeper:
    """Looks in a thread, which exists only while it does."""

    def __init__(self, app: App, loop: Loop, guard: AbstractContextManager[Any]) -> None:
        """`guard` is held while it looks."""
        self._app = app
        self._guard = guard
        self._thread: threading.Thread | None = None
        self._timer = loop.call_repeatedly(INTERVAL_SECONDS, self.look)

    def look(self) -> None:
        """Start a look unless one is under way."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(target=self._sweep, name="chord sweeper", daemon=True)
        self._thread.start()

    def _sweep(self) -> None:
        with self._guard:
            self._look()

    def _look(self) -> None:
        try:
            sweep = getattr(self._app.backend, "sweep_chords", None)
            if sweep is None:
                self._timer.cancel()
            else:
                sweep()
        except Exception as error:
            logger.warning("Chords could not be looked at, next attempt in %g s: %s", INTERVAL_SECONDS, error)
