"""A worker's session with the database file: one transaction a turn settles, takes and keeps house."""

import logging
import os
import socket
from collections.abc import Callable, Iterable
from random import uniform
from time import monotonic, time
from typing import Any, Final

from taskyard.broker.leases import LeaseRules
from taskyard.broker.sqlite_store import Row, Store
from taskyard.broker.sqlite_wake import Ringing

logger = logging.getLogger(__name__)

RECLAIM_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 5.0
"""Between looks into the queues although no bell rang: a network file system carries no bells."""

DEAF_LOOK_SECONDS: Final = 0.1
"""The same where there are no bells at all."""

Settle = Callable[[], int]
"""One change inside the turn's transaction; returns 0 when the message was no longer the worker's."""

_abandoned: dict[str, list[str]] = {}


class Session:
    """Everything that the channels of one transport do with the file."""

    def __init__(self, store: Store, bell: Ringing, rules: LeaseRules, *, worker_id: str | None) -> None:
        self.store = store
        self.bell = bell
        self.rules = rules
        self.worker = f"{worker_id or f'{socket.gethostname()}-{os.getpid()}'}.{os.urandom(6).hex()}"
        self.lost = 0
        self.closed = False
        self._acks: list[int] = []
        self._moves: list[Settle] = []
        self._rings: set[str] = set()
        self._introduced = False
        self._hears = True
        self._beat_at = self._reclaim_at = self._due_at = self._look_at = 0.0

    # -- settling

    def ack(self, message: int) -> None:
        """The message is done."""
        self._acks.append(message)

    def settle(self, change: Settle, ring: str | None = None) -> None:
        """Queue another change; with ``ring`` the consumers of that queue are woken once it is done."""
        self._moves.append(change)
        if ring is not None:
            self._rings.add(ring)

    def expect_due(self, moment: float) -> None:
        """A message becomes ready at this unix time."""
        self._due_at = min(self._due_at, monotonic() + max(0.0, moment - time()))

    @property
    def unsettled(self) -> int:
        """How many changes wait to be written."""
        return len(self._acks) + len(self._moves)

    def _write_settlements(self) -> None:
        lost = 0
        if self._acks:
            lost += len(self._acks) - self.store.delete(self.worker, self._acks)
        for change in self._moves:
            lost += 1 - change()
        if lost:
            self.lost += lost
            logger.warning(
                "%d message(s) were settled after their lease was lost: they are delivered again (%d so far)",
                lost,
                self.lost,
            )

    def flush(self) -> None:
        """Write all settlements; they are done when this returns."""
        if self.usable and self.unsettled:
            with self.store.transaction():
                self._write_settlements()
            self._written()

    def _written(self) -> None:
        self._acks, self._moves = [], []
        rings, self._rings = self._rings, set()
        for queue in rings:
            self.bell.ring(queue)

    # -- the turn

    def introduce(self) -> None:
        """Make this worker known before it owns anything."""
        if self._introduced:
            return
        self._introduced = True
        with self.store.transaction():
            self.store.beat(self.worker, time())
        self._beat_at = monotonic() + self.rules.beat

    def succeed(self, running: Iterable[str]) -> list[Row]:
        """Take over what broken sessions of this process to the same file have left."""
        adopted: list[Row] = []
        if _abandoned.get(self.store.path):
            with self.store.transaction():
                for old in _abandoned[self.store.path]:
                    adopted += self.store.succeed(
                        old, self.worker, [int(tag) for tag in running if tag.isdigit()]
                    )
            del _abandoned[self.store.path]
        return adopted

    def listen(self, queues: Iterable[str]) -> None:
        """Be woken for these queues, and look at once."""
        self._hears = self.bell.listen(queues)
        self._look_at = self._due_at = 0.0

    def turn(self, channels: list[Any], now: float) -> None:
        """Settle, keep house and take, in one transaction if anything has to be written."""
        if not self._introduced:
            if self.unsettled:
                self.flush()
            return
        if now >= self._look_at:
            self._look_at = now + (LOOK_SECONDS if self._hears else DEAF_LOOK_SECONDS) * uniform(0.8, 1.2)
            for channel in channels:
                channel.woken()
        takers = [channel for channel in channels if channel.wants(self.store)]
        chores = now >= min(self._beat_at, self._reclaim_at, self._due_at)
        if not (takers or chores or self.unsettled):
            return
        with self.store.transaction():
            self._write_settlements()
            if chores:
                self._keep_house(now)
            taken = [(channel, channel.take(self.store, self.worker)) for channel in takers]
        for channel, rows in taken:
            channel.received(rows)
        if chores:
            for channel in channels:
                channel.woken()
        self._written()

    def _keep_house(self, now: float) -> None:
        moment = time()
        if now >= self._beat_at:
            self._beat_at = now + self.rules.beat
            self.store.beat(self.worker, moment)
        if now >= self._reclaim_at:
            self._reclaim_at = now + RECLAIM_SECONDS * uniform(0.8, 1.2)
            if self.store.lost_workers(moment - self.rules.seconds):
                queues = self.store.reclaim(moment - self.rules.seconds)
                self._rings.update(queues)
                if queues:
                    logger.warning("%d message(s) of lost workers were put back", len(queues))
        if now >= self._due_at:
            self._rings.update(self.store.release_due(moment))
            due = self.store.next_due()
            self._due_at = now + (LOOK_SECONDS if due is None else min(LOOK_SECONDS, max(0.0, due - moment)))

    @property
    def next_at(self) -> float:
        """When the next turn is due without a bell, by the monotonic clock."""
        if not self._introduced:
            return monotonic() + LOOK_SECONDS
        return min(self._beat_at, self._reclaim_at, self._due_at, self._look_at)

    # -- the end

    @property
    def usable(self) -> bool:
        """Whether this process may still use the file by this session."""
        return not self.closed and self.store.owner == os.getpid()

    def leave(self) -> None:
        """Write what is left and be forgotten."""
        self.flush()
        if self._introduced:
            with self.store.transaction():
                self.store.leave(self.worker)

    def abandon(self) -> None:
        """Leave what is held to the next session of this process."""
        if self._introduced and self.usable:
            _abandoned.setdefault(self.store.path, []).append(self.worker)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self.closed = True
            self.bell.close()
            self.store.close()
