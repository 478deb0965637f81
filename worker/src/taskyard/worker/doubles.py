"""Doubles: what a broker delivers again because a connection was lost, and must not run again."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.broker.delivery import Delivery
    from taskyard.broker.link import Link
    from taskyard.message.protocol import Envelope
    from taskyard.worker.held import Held

logger = logging.getLogger("taskyard.worker")

#: Messages that are remembered as done, in case their acknowledgement was lost with its connection.
_REMEMBERED = 10_000


class Doubles:
    """Remembers what runs or ended here since before its connection was lost; true while there is any."""

    def __init__(self) -> None:
        #: Messages in the pool whose delivery came by a connection that is gone.
        self._orphaned: dict[tuple[str, int], Held] = {}
        #: Messages that are done and perhaps not acknowledged: another delivery is acknowledged unseen.
        self._done: dict[tuple[str, int], None] = {}
        #: What this connection acknowledged last; whether the broker saw it is not known until much later.
        self._acknowledged: deque[tuple[str, int, Any]] = deque(maxlen=_REMEMBERED)
        #: Tags that an earlier connection acknowledged, perhaps in vain.
        self.perhaps_acknowledged: set[Any] = set()

    def __bool__(self) -> bool:
        return bool(self._orphaned or self._done)

    def absorb(self, delivery: Delivery, envelope: Envelope) -> bool:
        """Whether the message is one that runs here, or ended here, since before its connection was lost;
        it is seen to then.
        """
        if not delivery.redelivered and not envelope.deliveries:
            return False
        if envelope.key in self._done:
            logger.info("Task %s[%s] was delivered again after it was done", envelope.name, envelope.id)
            delivery.ack()
            return True
        held = self._orphaned.get(envelope.key)
        if held is None or (held.successor is not None and not held.successor.stale):
            return False
        logger.info(
            "Task %s[%s] was delivered again while it runs here: not run twice", envelope.name, envelope.id
        )
        held.successor = delivery
        return True

    def acknowledge(self, held: Held) -> None:
        """Acknowledge; remember what cannot be acknowledged because its connection is gone."""
        delivery, envelope = held.delivery, held.envelope
        if delivery.link.alive:
            self._acknowledged.append((envelope.id, envelope.retries, delivery.tag))
        else:
            self._orphaned.pop(envelope.key, None)
            _remember(self._done, envelope.key)
        if held.early or held.successor is not None:
            held.settle("ack")
        else:
            delivery.ack()

    def forget(self, held: Held) -> None:
        """The message runs here no more, and may run again."""
        self._orphaned.pop(held.envelope.key, None)

    def drop_if_orphaned(self, held: Held) -> bool:
        """What has not begun and came by a lost connection will be delivered again."""
        if not held.delivery.stale:
            return False
        self.forget(held)
        if held.successor is not None and not held.successor.stale:
            held.delivery, held.successor = held.successor, None
            return False
        return True

    def link_lost(self, link: Link, at_work: Iterable[Held]) -> None:
        """From now on its deliveries are doubles, or still ours where the broker keeps them for us."""
        if link.keeps_deliveries:
            self.perhaps_acknowledged.update(tag for *_, tag in self._acknowledged)
        else:
            for task_id, retries, _ in self._acknowledged:
                _remember(self._done, (task_id, retries))
        self._acknowledged.clear()
        for held in at_work:
            if not held.delivery.link.keeps_deliveries:
                self._orphaned[held.envelope.key] = held


def _remember(known: dict[Any, None], key: Any) -> None:
    """Add, and forget the oldest of too many."""
    known[key] = None
    if len(known) > _REMEMBERED:
        del known[next(iter(known))]
