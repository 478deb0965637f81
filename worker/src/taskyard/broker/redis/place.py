"""A Redis as worker and client see it: how it is reached, what kombu calls things there, whose turn it is.

A plain one takes a socket; all others (TLS, Sentinel, a Unix socket, an option that only redis-py knows) are
reached by the connection that kombu would make, and used as a plain one is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from taskyard.broker.connection import connect_as_configured
from taskyard.broker.redis.names import Names, names_for
from taskyard.broker.redis.plain import Address, PlainConnection
from taskyard.broker.redis.session import reply_seconds

if TYPE_CHECKING:
    from taskyard.settings import Settings

#: Transport options with which a socket will do: they speak of names, of leases, of sockets...
_OF_SOCKETS: Final = frozenset(
    {"dead_letters", "global_keyprefix", "lease_seconds", "priority_steps", "queue_order_strategy", "sep"}
    | {"unacked_index_key", "unacked_key", "visibility_timeout", "wake_up", "worker_id"}
    | {"socket_connect_timeout", "socket_keepalive", "socket_keepalive_options", "socket_timeout"}
    # ... or of what only kombu and redis-py have: a pool, checks of idle connections, a scan of what is out.
    | {"health_check_interval", "max_connections", "retry_on_timeout", "confirm_publish", "polling_interval"}
    | {"interval_max", "interval_start", "interval_step", "max_retries", "unacked_mutex_expire"}
    | {"unacked_mutex_key", "unacked_restore_interval", "unacked_restore_limit", "unacked_restore_throttle"}
)
_ON_BY_DEFAULT: Final = frozenset({"fanout_patterns", "fanout_prefix"})
#: kombu's prefix of what is published to a fanout exchange.
_TOPIC: Final = "/{}."


class Place(Protocol):
    """A Redis and the names that kombu uses there."""

    names: Names
    #: The longest that an answer may take, seconds.
    reply_seconds: float

    def connection(self) -> Any:
        """A new connection as a Pipe takes it, not yet open; it may be opened until `close`."""

    def topic(self, exchange: str, routing_key: str) -> str:
        """Where kombu publishes what goes to a fanout exchange."""

    def close(self) -> None:
        """All its connections are open, or will never be."""


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


def cycle_for(options: Mapping[str, Any]) -> Any:
    """What decides whose turn it is, by the transport option `queue_order_strategy`."""
    strategy = options.get("queue_order_strategy", "round_robin")
    if strategy == "round_robin":
        return Cycle()
    from kombu.utils.scheduling import cycle_by_name

    return cycle_by_name(strategy)()


class PlainPlace:
    """A plain Redis."""

    def __init__(self, address: Address, options: Mapping[str, Any], connect_timeout: float | None) -> None:
        self.names = names_for(options)
        self.reply_seconds = reply_seconds(options)
        self._address = address
        self._connect_timeout = options.get("socket_connect_timeout") or connect_timeout
        kept_alive = options.get("socket_keepalive")
        self._keepalive = options.get("socket_keepalive_options") or {} if kept_alive else None

    def connection(self) -> PlainConnection:
        """A socket, and what is said first."""
        return PlainConnection(
            self._address,
            connect_timeout=self._connect_timeout,
            timeout=self.reply_seconds,
            keepalive=self._keepalive,
        )

    def topic(self, exchange: str, routing_key: str) -> str:
        """As kombu names it where no option says otherwise."""
        name = f"{self.names.prefix}{_TOPIC.format(self._address.database)}{exchange}"
        return f"{name}/{routing_key}" if routing_key else name

    def close(self) -> None:
        """Nothing to close."""


def _takes_a_socket(options: Mapping[str, Any]) -> bool:
    """Whether no option asks for more; the two of broadcasts are on where nothing is said."""
    said = {name for name, value in options.items() if name not in _ON_BY_DEFAULT or value is not True}
    return said <= _OF_SOCKETS


def place_for(settings: Settings, url: str) -> Place:
    """The Redis of a broker's URL."""
    options = settings.broker_transport_options
    address = Address.of(url)
    if address is None or settings.broker_use_ssl or not _takes_a_socket(options):
        from taskyard.broker.redis.kombu_place import KombuPlace

        return KombuPlace(partial(connect_as_configured, settings, url), options)
    return PlainPlace(address, options, settings.broker_connection_timeout or None)
