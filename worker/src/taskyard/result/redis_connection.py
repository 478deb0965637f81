"""How to reach the Redis that keeps results: from `result_backend` and the settings redis_*.

URLs are Celery's: redis://, rediss://, redis+socket:// (socket://), sentinel:// (several, with ;).
"""

from __future__ import annotations

import logging
from importlib import import_module
from ssl import CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from taskyard.broker.connection import without_password
from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from taskyard.settings import Settings

logger = logging.getLogger(__name__)

_CERT_REQS = {
    "CERT_REQUIRED": CERT_REQUIRED,
    "CERT_OPTIONAL": CERT_OPTIONAL,
    "CERT_NONE": CERT_NONE,
    "required": CERT_REQUIRED,
    "optional": CERT_OPTIONAL,
    "none": CERT_NONE,
}


def connection_pool(url: str, conf: Settings, *, asynchronous: bool = False, **overrides: Any) -> Any:
    """redis-py's connection pool for a result store's URL."""
    redis = import_module("redis.asyncio" if asynchronous else "redis")
    parts = [part for part in url.split(";") if part]
    if parts[0].startswith("sentinel://"):
        return _sentinel_pool(redis, parts, conf, overrides)
    parameters = {**_parameters(redis, parts[0], conf), **overrides}
    return redis.ConnectionPool(**parameters)


def decodes_responses(url: str) -> bool:
    """Whether the URL asks redis-py for text instead of bytes."""
    query = dict(parse_qsl(urlsplit(url.split(";")[0]).query))
    return query.get("decode_responses", "").lower() not in ("", "0", "f", "false", "n", "no")


def more_connection_errors(conf: Settings) -> tuple[type[Exception], ...]:
    """What else counts as a lost connection: `additional_connection_errors` of the transport options."""
    given = conf.result_backend_transport_options.get("additional_connection_errors") or ()
    if isinstance(given, (str, type)):
        given = (given,)
    found = []
    for each in given:
        try:
            error = _by_path(each) if isinstance(each, str) else each
        except (ImportError, AttributeError):
            error = None
        if isinstance(error, type) and issubclass(error, Exception):
            found.append(error)
        else:
            logger.warning("additional_connection_errors: %r is no class of exceptions and is ignored", each)
    return tuple(found)


def _by_path(path: str) -> Any:
    module, _, name = path.replace(":", ".").rpartition(".")
    return getattr(import_module(module), name)


def _sentinel_pool(redis: Any, parts: list[str], conf: Settings, overrides: dict[str, Any]) -> Any:
    options = conf.result_backend_transport_options
    master = options.get("master_name")
    if not master:
        raise ImproperlyConfigured(
            "a sentinel:// result backend needs result_backend_transport_options={'master_name': ...}"
        )
    sentinel = import_module(f"{redis.__name__}.sentinel")
    parameters = [_parameters(redis, part, conf) for part in parts]
    common = {**parameters[0], **overrides}
    hosts = [(each["host"], each["port"]) for each in parameters]
    for name in ("host", "port"):
        common.pop(name)
    tls = common.pop("connection_class", None) is not None
    retry = import_module(f"{redis.__name__}.retry").Retry
    # A Sentinel that does not answer is not asked again for seconds: the next one is.
    once = {"retry": retry(import_module("redis.backoff").NoBackoff(), 0)}
    watchers = sentinel.Sentinel(
        hosts,
        min_other_sentinels=options.get("min_other_sentinels", 0),
        sentinel_kwargs={**once, **(options.get("sentinel_kwargs") or {})},
    )
    return sentinel.SentinelConnectionPool(master, watchers, ssl=tls, **common)


def cluster_parameters(url: str, conf: Settings) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """The nodes to ask first (`startup` in the query names more), and the options of every connection."""
    redis = import_module("redis")
    parameters = _parameters(redis, url, conf)
    tls = parameters.pop("connection_class", None) is not None
    more = str(parameters.pop("startup", "")).split(",")
    nodes = [(parameters.pop("host"), parameters.pop("port"))]
    for each in filter(None, more):
        host, _, port = each.rpartition(":")
        nodes.append((host or port, int(port) if host else 6379))
    parameters.pop("retry_on_timeout", None)
    return nodes, {**parameters, **({"ssl": True} if tls else {})}


def _parameters(redis: Any, url: str, conf: Settings) -> dict[str, Any]:
    # A bare name, as Celery allows, leaves it all to the settings.
    where = urlsplit(url if "://" in url else f"{url}://")
    query = dict(parse_qsl(where.query))
    parameters: dict[str, Any] = {
        "host": where.hostname or conf.redis_host or "localhost",
        "port": where.port or int(conf.redis_port or 6379),
        "username": unquote(where.username) if where.username else conf.redis_username,
        "password": unquote(where.password) if where.password else conf.redis_password,
        "socket_timeout": conf.redis_socket_timeout,
        "socket_connect_timeout": conf.redis_socket_connect_timeout,
        "retry_on_timeout": conf.redis_retry_on_timeout,
        "socket_keepalive": conf.redis_socket_keepalive,
        "health_check_interval": conf.redis_backend_health_check_interval or 25,
        "client_name": conf.redis_client_name,
        "max_connections": conf.redis_max_connections,
    }
    database: Any = where.path.strip("/") or (0 if "://" in url else conf.redis_db) or 0
    if where.scheme in ("redis+socket", "socket"):
        parameters["connection_class"] = redis.UnixDomainSocketConnection
        parameters["path"] = "/" + where.path.lstrip("/")
        database = query.pop("virtual_host", None) or conf.redis_db or 0
        for name in ("host", "port", "socket_keepalive"):
            parameters.pop(name)
    else:
        database = query.pop("virtual_host", None) or database
        parameters.update(_tls(redis, where.scheme, query, conf, url))
    try:
        parameters["db"] = int(str(database).strip("/"))
    except ValueError:
        raise ImproperlyConfigured(
            f"result backend {without_password(url)!r}: the database must be a number, not {database!r}"
        ) from None
    _add_credentials(redis, parameters, query.pop("credential_provider", None), conf)
    if "decode_responses" in query:
        del query["decode_responses"]
        parameters["decode_responses"] = decodes_responses(url)
    parsers = import_module("redis.connection").URL_QUERY_ARGUMENT_PARSERS
    parameters.update({name: parsers.get(name, str)(value) for name, value in query.items()})
    return {name: value for name, value in parameters.items() if value is not None}


def _tls(redis: Any, scheme: str, query: dict[str, str], conf: Settings, url: str) -> dict[str, Any]:
    given = {name: unquote(query.pop(name)) for name in list(query) if name.startswith("ssl_")}
    setting = conf.redis_backend_use_ssl
    if scheme == "redis" and given:
        raise ImproperlyConfigured(
            f"result backend {without_password(url)!r} has TLS options: write rediss:// instead of redis://"
        )
    if scheme != "rediss" and not setting:
        return {}
    options: dict[str, Any] = {**(setting if isinstance(setting, dict) else {}), **given}
    wanted = options.get("ssl_cert_reqs", CERT_REQUIRED)
    options["ssl_cert_reqs"] = _CERT_REQS.get(wanted, wanted) if isinstance(wanted, str) else wanted
    if options["ssl_cert_reqs"] not in (CERT_REQUIRED, CERT_OPTIONAL, CERT_NONE):
        raise ImproperlyConfigured(
            f"ssl_cert_reqs of the result backend must be required, optional or none, not {wanted!r}"
        )
    return {"connection_class": redis.SSLConnection, **options}


def _add_credentials(redis: Any, parameters: dict[str, Any], named: str | None, conf: Settings) -> None:
    provider: Any = named or conf.redis_backend_credential_provider
    if not provider:
        return
    if isinstance(provider, str):
        provider = _by_path(provider)
    if isinstance(provider, type):
        provider = provider()
    if not isinstance(provider, import_module("redis").CredentialProvider):
        raise ImproperlyConfigured(
            f"redis_backend_credential_provider must be a redis.CredentialProvider, not {provider!r}"
        )
    parameters["credential_provider"] = provider
    parameters["username"] = parameters["password"] = None
