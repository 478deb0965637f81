"""Delivery: one message in our hands, to be settled exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from taskyard.errors import AlreadySettled

if TYPE_CHECKING:
    from taskyard.broker.link import Link


class Delivery(msgspec.Struct, eq=False):
    """A message with its four ways out: ack, reject (to the dead letters), requeue, defer.

    Each is allowed once.  A delivery whose connection is gone is `stale`: the broker delivers it again by
    itself, and settling it does nothing.
    """

    link: Link
    tag: Any
    queue: str
    headers: dict[str, Any]
    properties: dict[str, Any]
    body: bytes | str
    content_type: str | None
    content_encoding: str | None
    exchange: str
    routing_key: str
    redelivered: bool
    settled: bool = False

    __repr__ = object.__repr__

    @property
    def stale(self) -> bool:
        """Whether the connection that it came by is gone."""
        return not self.link.alive

    def _settle(self) -> bool:
        if self.settled:
            raise AlreadySettled(f"message {self.tag!r} of queue {self.queue!r} is settled already")
        self.settled = True
        return self.link.alive

    def ack(self) -> None:
        """Done: remove it from the broker."""
        if self.settled:
            self._settle()
        self.settled = True
        if self.link.alive:
            self.link.ack(self)

    def reject(self, reason: str) -> None:
        """Never to be delivered again: move it to the dead letters with the reason."""
        if self._settle():
            self.link.dead_letter(self, reason)

    def give_back(self) -> None:
        """Put it back as if it had not been delivered."""
        if self._settle():
            self.link.give_back(self)

    def requeue(self) -> None:
        """Put it back as one that was delivered, where the broker counts that."""
        if self._settle():
            self.link.requeue(self)

    def requeue_counted(self, deliveries: int) -> None:
        """Give it back as a message that was delivered `deliveries` times."""
        if self._settle():
            self.link.requeue_counted(self, deliveries)

    def defer(self, due: float) -> None:
        """Keep it in the broker until `due` (unix seconds)."""
        if self._settle():
            self.link.defer(self, due)
