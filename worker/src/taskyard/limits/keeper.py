"""Keeper: one thread a process that renews what the process holds, each at a third of its life."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from time import monotonic

from taskyard.limits.store import LimitStoreError

logger = logging.getLogger("taskyard.limits")

#: Seconds that the thread stays without work.
_IDLE_SECONDS = 30.0


class Kept:
    """Something that must be renewed until it is let go; `lost` once that failed for its whole life."""

    __slots__ = ("_renew", "due", "life", "lost", "name", "renewed")

    def __init__(self, name: str, life: float, renew: Callable[[], bool]) -> None:
        self.name = name
        self.life = life
        self.lost = False
        self._renew = renew
        self.renewed = monotonic()
        self.due = self.renewed + life / 3

    def renew(self) -> None:
        """Try once; the store being away for less than the life is survived."""
        began = monotonic()
        try:
            kept = self._renew()
        except LimitStoreError as error:
            kept = began < self.renewed + self.life
            self.due = began + min(1.0, self.life / 6)
            logger.warning("%s could not be renewed: %s", self.name, error)
        else:
            self.renewed = began
            self.due = began + self.life / 3
        if not kept:
            self.lost = True
            logger.error("%s is lost: others may work under the same key now", self.name)


class Keeper:
    """The process' renewals; starts its thread with the first and again after a fork."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._kept: set[Kept] = set()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def keep(self, kept: Kept) -> None:
        """Renew from now on."""
        if self._pid != os.getpid():
            self.__init__()  # type: ignore[misc]  # what the parent holds is not ours, and its thread is gone
        with self._changed:
            self._kept.add(kept)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="taskyard-limits", daemon=True)
                self._thread.start()
            else:
                self._changed.notify()

    def let_go(self, kept: Kept) -> None:
        """Renew no longer."""
        with self._changed:
            self._kept.discard(kept)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._kept and not self._changed.wait(_IDLE_SECONDS) and not self._kept:
                    self._thread = None
                    return
                due = min((each.due for each in self._kept), default=monotonic())
                if due > monotonic():
                    self._changed.wait(due - monotonic())
                now = monotonic()
                ready = [each for each in self._kept if each.due <= now]
            for each in ready:
                each.renew()
                if each.lost:
                    self.let_go(each)


keeper = Keeper()
