"""Which stores in Redis are reached by a plain connection of our own, and which take redis-py's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskyard.broker.redis.plain import Address, PlainConnection

if TYPE_CHECKING:
    from taskyard.settings import Settings

#: Settings that say where the store is and who we are there, beside the URL.
_WHERE = (
    "redis_db", "redis_host", "redis_port", "redis_username", "redis_password",
    "redis_backend_credential_provider",
)  # fmt: skip
#: Settings that make a connection more than a socket with a password.
_BEYOND_PLAIN = (*_WHERE, "redis_backend_use_ssl", "redis_client_name", "redis_socket_keepalive")


def url_says_where(settings: Settings) -> bool:
    """Whether the URL alone decides where the store is, so that it can be known as the broker's server."""
    return not any(settings[name] for name in _WHERE)


def plain_address(url: str, settings: Settings) -> Address | None:
    """Where the store is, if a socket and a password are all it takes."""
    return None if any(settings[name] for name in _BEYOND_PLAIN) else Address.of(url)


def connection_to(url: str, settings: Settings) -> Any:
    """An unconnected connection to the store: our own where a plain one will do, else redis-py's."""
    address = plain_address(url, settings)
    if address is not None:
        return PlainConnection(address, connect_timeout=4, timeout=10)
    from taskyard.result.redis_connection import connection_pool

    pool = connection_pool(url, settings, socket_connect_timeout=4, socket_timeout=10)
    return pool.make_connection()
