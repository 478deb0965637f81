"""Which result store a URL means.

Each is imported when it is used; what it needs is an extra of the distribution.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskyard.broker.connection import without_password
from taskyard.broker.redis.plain import Address
from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.result.backend import Backend
    from taskyard.settings import Settings

#: Scheme -> (module, class, extra that brings what it needs).
BACKENDS: dict[str, tuple[str, str, str | None]] = {
    "disabled": ("taskyard.result.disabled", "DisabledBackend", None),
    "redis": ("taskyard.result.backends.redis", "RedisBackend", "redis"),
    "rediss": ("taskyard.result.backends.redis", "RedisBackend", "redis"),
    "redis+socket": ("taskyard.result.backends.redis", "RedisBackend", "redis"),
    "socket": ("taskyard.result.backends.redis", "RedisBackend", "redis"),
    "sentinel": ("taskyard.result.backends.redis", "SentinelBackend", "redis"),
    "rediscluster": ("taskyard.result.backends.redis_cluster", "RedisClusterBackend", "redis"),
    "rpc": ("taskyard.result.backends.rpc", "RPCBackend", None),
    "db": ("taskyard.result.backends.database", "DatabaseBackend", "sqlalchemy"),
    "database": ("taskyard.result.backends.database", "DatabaseBackend", "sqlalchemy"),
    "cache": ("taskyard.result.backends.cache", "CacheBackend", "memcached"),
    "file": ("taskyard.result.backends.filesystem", "FilesystemBackend", None),
    "mongodb": ("taskyard.result.backends.mongodb", "MongoBackend", "mongodb"),
    "mongodb+srv": ("taskyard.result.backends.mongodb", "MongoBackend", "mongodb"),
    "django-db": ("taskyard.result.backends.django", "DatabaseBackend", "django"),
    "django-cache": ("taskyard.result.backends.django", "CacheBackend", "django"),
    "memory": ("taskyard.result.backends.memory", "MemoryBackend", None),
}
#: The entry point by which packages offer stores to Celery.
EXTENSIONS = "celery.result_backends"
#: Schemes of a Redis.
OF_REDIS = ("redis", "rediss", "redis+socket", "socket", "sentinel")
#: Schemes of which the part before the plus sign is not the store's URL.
_PREFIXES = ("db", "database", "cache")


def open_backend(app: App, url: Any = None) -> Backend:
    """The store that `result_backend` names, or the one given (a URL, "module:Class", a class)."""
    if url is None:
        url = app.conf.effective_result_backend()
    if not url:
        url = "disabled://"
    if not isinstance(url, str):
        own: Backend = url(app=app)
        return own
    backend = find_backend(url)
    opened: Backend = backend(app=app, url=_url_for(url))
    return opened


def find_backend(url: str) -> Any:
    """The class that a URL names; ImproperlyConfigured if there is none, or what it needs is missing."""
    scheme = scheme_of(url)
    offered = None if scheme in BACKENDS else _offered(scheme)
    if scheme in BACKENDS:
        module, name, extra = BACKENDS[scheme]
    elif offered:
        module, _, name = offered.partition(":")
        extra = None
    elif "://" not in url and ("." in url or ":" in url):
        module, _, name = url.partition(":") if ":" in url else url.rpartition(".")
        extra = None
    else:
        known = ", ".join(BACKENDS)
        raise ImproperlyConfigured(
            f"result backend {without_password(url)!r} is not known: there are {known}, "
            "or the path of a class as module:Class"
        )
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        remedy = f": pip install taskyard[{extra}]" if extra else ""
        raise ImproperlyConfigured(
            f"result backend {without_password(url)!r} cannot be used, {error}{remedy}"
        ) from None
    except AttributeError:
        raise ImproperlyConfigured(f"result backend {url!r}: {module} has no {name}") from None


def _offered(scheme: str) -> str | None:
    """The path of a store that an installed package offers for a scheme, as it does for Celery."""
    from importlib.metadata import entry_points

    return next((each.value for each in entry_points(group=EXTENSIONS, name=scheme)), None)


def refuse_unusable(url: str, settings: Settings) -> None:
    """ImproperlyConfigured for a store that can never be opened; imports no client where it need not."""
    if scheme_of(url) not in OF_REDIS:
        find_backend(url)
    elif not is_installed("redis") or Address.of(url) is None:
        find_backend(url)
        import_module("taskyard.result.redis_connection").connection_pool(url, settings)


def by_name(backend: Any = None, loader: Any = None) -> Any:
    """The class of a store by its short name or path; Celery's name for it."""
    return find_backend(str(backend or "disabled"))


def by_url(backend: Any = None, loader: Any = None) -> tuple[Any, str | None]:
    """The class and, where a URL was given, what is left of it for the store."""
    url = str(backend or "disabled")
    return find_backend(url), _url_for(url) if "://" in url else None


def scheme_of(url: str) -> str:
    """The scheme that decides; a bare name, as Celery allows, is one."""
    scheme = url.partition("://")[0]
    if scheme in BACKENDS:
        return scheme
    before = scheme.partition("+")[0]
    return before if before in _PREFIXES else scheme


def _url_for(url: str) -> str:
    before, plus, rest = url.partition("+")
    return rest if plus and before in _PREFIXES else url


def is_installed(package: str) -> bool:
    """Whether a package could be imported."""
    from importlib.util import find_spec

    return find_spec(package) is not None


def needs_extra(extra: str, what: str) -> ImproperlyConfigured:
    """The error for a package that is missing."""
    return ImproperlyConfigured(f"{what} is not installed: pip install taskyard[{extra}]")


def global_prefix(transport_options: dict[str, Any]) -> str:
    """Celery's `global_keyprefix`, with the underscore that it adds."""
    prefix = str(transport_options.get("global_keyprefix") or "")
    return prefix + "_" if prefix and prefix[-1] not in ":_-." else prefix
