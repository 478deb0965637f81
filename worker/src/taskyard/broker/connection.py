"""kombu connections: which transport a URL means, and URLs that may be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from taskyard.errors import ImproperlyConfigured
from taskyard.settings.masking import masked

if TYPE_CHECKING:
    from kombu import Connection

    from taskyard.settings import Settings

#: URL scheme -> our own transport; all other schemes are kombu's.
TRANSPORTS = {
    "redis": "taskyard.broker.redis:Transport",
    "rediss": "taskyard.broker.redis:TlsTransport",
    "sentinel": "taskyard.broker.redis:SentinelTransport",
    "sqlite": "taskyard.broker.sqlite:Transport",
    "memory": "taskyard.broker.memory:Transport",
}

#: URL scheme -> the extra that brings the client library.
_EXTRAS = {"redis": "redis", "rediss": "redis", "sentinel": "redis", "redis+socket": "redis", "sqs": "sqs"}

#: Schemes whose path is the number of a database.
_NUMBERED = frozenset({"redis", "rediss", "sentinel"})


def is_redis(url: str) -> bool:
    """Whether a URL, or the first of several, leads to a Redis."""
    return _EXTRAS.get(url.partition("://")[0].lower()) == "redis"


def scheme_of(url: str) -> str:
    """The scheme of a broker URL in lower case; ImproperlyConfigured if it has none."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise ImproperlyConfigured(
            f"broker URL {without_password(url)!r} has no scheme; write for example redis://host:6379/0, "
            "amqp://user:password@host// or sqlite:///tasks.db"
        )
    return scheme.lower()


def without_password(url: str) -> str:
    """The URL (or several, with ;) with ** for each password."""
    return masked(url, "**")


def refuse_unusable(url: str) -> None:
    """ImproperlyConfigured for a URL that can never be opened; opens nothing."""
    if url.startswith("redis://"):
        from taskyard.broker.redis.plain import Address

        if Address.of(url) is not None:
            return  # a worker needs no more than a socket there
    connect(url)


def _refuse_unnumbered(database: str) -> None:
    if not (database.removeprefix("/") or "0").isdecimal():
        raise ValueError(f"the database is a number, as in redis://host:6379/0, not {database!r}")


def connect(
    url: str,
    *,
    transport_options: Mapping[str, Any] | None = None,
    connect_timeout: float = 4.0,
    heartbeat: float = 0.0,
    ssl: bool | Mapping[str, Any] | None = None,
    login_method: str | None = None,
) -> Connection:
    """A kombu Connection, not yet open; the transport is ours where we have one.

    `ssl` is what broker_use_ssl says: True, or options of the transport's TLS (Redis: ssl_ca_certs, ...;
    RabbitMQ: ca_certs, certfile, keyfile, ...).
    """
    from kombu import Connection

    scheme = scheme_of(url)
    transport = TRANSPORTS.get(scheme)
    if scheme == "redis+socket":
        # kombu takes the transport from before the plus sign, whatever else it is told.
        from kombu.transport import TRANSPORT_ALIASES

        TRANSPORT_ALIASES["taskyard-redis"] = TRANSPORTS["redis"]
        url = f"taskyard-{url}"
    options: dict[str, Any] = {
        "transport_options": dict(transport_options or {}),
        "connect_timeout": connect_timeout,
        "heartbeat": heartbeat,
    }
    if transport is not None:
        options["transport"] = transport
    if ssl:
        options["ssl"] = dict(ssl) if isinstance(ssl, Mapping) else ssl
    if login_method:
        options["login_method"] = login_method
    try:
        connection = Connection(url, **options)
        connection.get_transport_cls()  # imports the transport, so that what is missing is known now
        if scheme in _NUMBERED:
            _refuse_unnumbered(connection.virtual_host or "")
        return connection
    except TypeError as error:
        name = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if name is None:
            raise
        raise ImproperlyConfigured(
            f"broker URL {without_password(url)!r} cannot have the option {name[1]!r}: "
            "what a transport takes belongs into broker_transport_options"
        ) from None
    except (KeyError, ValueError, ImportError) as error:
        extra = _EXTRAS.get(scheme)
        if extra and isinstance(error, ImportError):
            raise ImproperlyConfigured(
                f"a broker at {scheme}:// needs a package: pip install taskyard[{extra}]"
            ) from None
        raise ImproperlyConfigured(
            f"broker URL {without_password(url)!r} cannot be used: {error.args[0] if error.args else error}"
        ) from None


def connect_as_configured(
    settings: Settings,
    url: str,
    *,
    heartbeat: float = 0.0,
    transport_options: Mapping[str, Any] | None = None,
) -> Connection:
    """A kombu Connection to one URL with what the broker_* settings say; `transport_options` add to
    theirs.
    """
    return connect(
        url,
        transport_options={**settings.broker_transport_options, **(transport_options or {})},
        connect_timeout=settings.broker_connection_timeout or 0.0,
        heartbeat=heartbeat,
        ssl=settings.broker_use_ssl or None,
        login_method=settings.broker_login_method,
    )
