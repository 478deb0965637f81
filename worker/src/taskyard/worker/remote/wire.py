"""Wire: the connection of its own that remote control and events travel by, in the parent's loop.

It never waits once it is open.  When it is lost it says so once, and another one is opened; nothing that was
on its way is kept: requests and events are of the moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.broker.link import Link
    from taskyard.loop import Loop

#: Options of the link's connection that hold for what it leases, which a wire does not.
_LINK_OPTIONS = ("dead_letters", "worker_id", "still_running")


class Message(NamedTuple):
    """A message as it came."""

    body: bytes | str
    content_type: str | None
    content_encoding: str | None
    headers: dict[str, Any]


class Owner(Protocol):
    """Whom a wire tells what comes by it; called in the loop's thread."""

    hostname: str

    def on_request(self, message: Message) -> None:
        """A request of remote control."""

    def on_listeners(self, count: int) -> None:
        """So many (at least) listen to task events now."""

    def on_lost(self, error: BaseException) -> None:
        """The connection is broken."""


class Wire(Protocol):
    """An open connection."""

    #: Where a probe tells whether anybody listens to task events.
    tells_listeners: bool

    def open(self, listen: bool) -> None:
        """Connect, and listen to requests if so wished; may wait, and raises the client's errors."""

    def reply(self, exchange: str, routing_key: str, message: Message) -> None:
        """Send a reply to who asked."""

    def publish(self, routing_key: str, message: Message) -> None:
        """Send an event."""

    def probe(self, message: Message) -> None:
        """Ask whether anybody listens to task events, by a message that says nothing."""

    def flush(self) -> None:
        """Send what was published in this turn."""

    def overdue(self) -> bool:
        """Whether the broker has owed an answer for too long."""

    def close(self) -> None:
        """End the connection."""


def wire_for(app: App, link: Link, loop: Loop, owner: Owner) -> Wire | None:
    """The wire beside this link, to the same broker; None where the broker has no broadcast."""
    if link.place is not None:
        from taskyard.worker.remote.redis_wire import RedisWire

        return RedisWire(app.conf, link.place, loop, owner)
    connection = link.connection.clone()
    connection.transport_options = {
        name: value
        for name, value in (link.connection.transport_options or {}).items()
        if name not in _LINK_OPTIONS
    }
    maker: Callable[..., Wire]
    driver = connection.transport.driver_type
    if driver == "redis":
        from taskyard.broker.redis.kombu_place import KombuPlace
        from taskyard.worker.remote.redis_wire import RedisWire

        return RedisWire(app.conf, KombuPlace(connection.clone, connection.transport_options), loop, owner)
    if driver == "amqp":
        from taskyard.worker.remote.amqp_wire import AmqpWire as maker  # noqa: N813
    elif connection.supports_exchange_type("fanout"):
        from taskyard.worker.remote.kombu_wire import KombuWire as maker  # noqa: N813
    else:
        return None
    return maker(app.conf, connection, loop, owner)
