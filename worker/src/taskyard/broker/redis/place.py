"""A plain Redis as the worker sees it: where it is, what kombu calls things there, whose turn it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from taskyard.broker.redis.names import BINDINGS, SEPARATOR
from taskyard.broker.redis.plain import Address, PlainConnection
from taskyard.broker.redis.session import REPLY_SECONDS

#: kombu's prefix of what is published to a fanout exchange.
_TOPIC: Final = "/{}."


class Cycle:
    """Whose turn it is among the queues: the one that gave something goes to the end."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def update(self, names: Iterable[str]) -> None:
        """The queues from now on; those that stay keep their order."""
        wanted = list(names)
        kept = [name for name in self._names if name in wanted]
        self._names = kept + [name for name in wanted if name not in kept]

    def consume(self, count: int) -> list[str]:
        """The next ones."""
        return self._names[:count]

    def rotate(self, name: str) -> None:
        """That one had its turn."""
        if len(self._names) > 1 and name in self._names:
            self._names.remove(name)
            self._names.append(name)


class Place:
    """A plain Redis, as the wire beside the link needs it."""

    separator = SEPARATOR

    def __init__(self, address: Address, prefix: str, connect_timeout: float | None) -> None:
        self.address = address
        self.prefix = prefix
        self._connect_timeout = connect_timeout

    def connection(self) -> PlainConnection:
        """A new connection, not yet open."""
        return PlainConnection(self.address, connect_timeout=self._connect_timeout, timeout=REPLY_SECONDS)

    def topic(self, exchange: str, routing_key: str) -> str:
        """Where kombu publishes what goes to a fanout exchange."""
        name = f"{self.prefix}{_TOPIC.format(self.address.database)}{exchange}"
        return f"{name}/{routing_key}" if routing_key else name

    def bindings(self, exchange: str) -> str:
        """The set of what is bound to an exchange."""
        return f"{self.prefix}{BINDINGS[0]}{exchange}"

    def close(self) -> None:
        """Nothing to close."""
