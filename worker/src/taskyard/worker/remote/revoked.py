"""What this worker knows of revocations: task ids and stamps, each until it is forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import time
from typing import Any

from taskyard.control.revocations import LIFE_SECONDS, MOST, Revoked, Stamp, stamps_of


class RevokedTasks:
    """A copy of what the broker keeps, and what came by broadcast; true while there is anything."""

    __slots__ = ("_ids", "_stamps", "active")

    def __init__(self) -> None:
        self._ids: dict[str, float] = {}
        self._stamps: dict[Stamp, float] = {}
        #: Whether there is anything to look for.
        self.active = False

    def __bool__(self) -> bool:
        return self.active

    def __contains__(self, task_id: object) -> bool:
        return self._ids.get(task_id, 0.0) > time()  # type: ignore[call-overload,no-any-return]

    def covers(self, task_id: str, headers: Mapping[str, Any]) -> bool:
        """Whether a task must not begin."""
        if self._ids and task_id in self:
            return True
        return bool(self._stamps) and self._by_stamp(headers)

    def _by_stamp(self, headers: Mapping[str, Any]) -> bool:
        stamps = headers.get("stamps")
        if not isinstance(stamps, dict) or not stamps:
            return False
        now = time()
        return any(self._stamps.get(stamp, 0.0) > now for stamp in stamps_of(stamps))

    def add(self, ids: Iterable[str]) -> None:
        """Task ids, from now on."""
        until = time() + LIFE_SECONDS
        self._merge(self._ids, dict.fromkeys(ids, until))

    def discard(self, task_id: str) -> None:
        """It may begin again."""
        self._ids.pop(task_id, None)

    def add_stamps(self, headers: Mapping[str, Any]) -> None:
        """Stamps, from now on: {header: stamp or stamps}."""
        until = time() + LIFE_SECONDS
        self._merge(self._stamps, dict.fromkeys(stamps_of(headers), until))

    def merge(self, revoked: Revoked) -> None:
        """What is kept elsewhere."""
        self._merge(self._ids, revoked.ids)
        self._merge(self._stamps, revoked.stamps)

    def _merge(self, known: dict[Any, float], more: Mapping[Any, float]) -> None:
        known.update(more)
        if len(known) > MOST:
            now = time()
            for each in [each for each, until in known.items() if until <= now]:
                del known[each]
            for each in list(known)[: max(0, len(known) - MOST)]:
                del known[each]
        self.active = bool(self._ids or self._stamps)

    def ids(self) -> list[str]:
        """The ids that are not forgotten, the oldest first."""
        now = time()
        return [each for each, until in self._ids.items() if until > now]

    def snapshot(self) -> Revoked:
        """All of it, to be kept."""
        return Revoked(dict(self._ids), dict(self._stamps))
