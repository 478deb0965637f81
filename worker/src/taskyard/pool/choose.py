"""Pools by name, and what a pool of the app's own is given."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskyard.errors import ImproperlyConfigured
from taskyard.pool.pool import Pool

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.pool.pace import Pace

#: Pools that exist.
POOLS = ("prefork", "threads", "asyncio", "gevent", "eventlet", "solo")
#: Other names for them: Celery's, and those that come to mind.
_ALIASES = {"processes": "prefork", "fork": "prefork", "thread": "threads", "aio": "asyncio"}
#: Pools that run jobs side by side in one process, and whether they can end them.
_LANES = {"threads": False, "asyncio": True, "gevent": True, "eventlet": True}
#: How many coroutines run at the same time when nobody says.
_COROUTINES = 100


@dataclass(slots=True, frozen=True)
class PoolOptions:
    """What a pool has to know."""

    hostname: str
    pace: Pace
    #: How many jobs at the same time.
    slots: int
    #: Whether results are kept.
    store: bool = False
    #: Jobs after which a process is replaced; 0 for no limit.
    max_tasks: int = 0
    #: KiB of resident memory above which a process is replaced; 0 for no limit.
    max_memory: int = 0
    #: fork or spawn.
    start_method: str = "fork"
    #: Seconds that a child may take from loading the app to being ready.
    alive_timeout: float = 4.0
    #: Child processes, for pools whose children run many jobs at the same time.
    processes: int = 1
    #: The app as module:attribute, for new interpreters; "" if that is not known.
    app: str = ""
    #: Modules that new interpreters import besides.
    imports: tuple[str, ...] = ()
    #: Arguments for setup_logging in new interpreters.
    log: dict[str, Any] | None = None


def _is_installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def pool_name(name: str | type[Any]) -> str | type[Pool]:
    """The pool's own name, or its class for `module:Class`; ImproperlyConfigured if there is none."""
    if isinstance(name, type):
        return _checked(name, name.__name__)
    known = _ALIASES.get(name, name)
    if known in POOLS:
        if known in ("gevent", "eventlet") and not _is_installed(known):
            raise ImproperlyConfigured(f"the pool {known} needs more: pip install taskyard[{known}]")
        return known
    module, colon, attribute = name.partition(":")
    if not colon:
        choices = ", ".join(POOLS)
        raise ImproperlyConfigured(f"-P {name}: there is no such pool: choose {choices}, or module:Class")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ImproperlyConfigured(f"-P {name}: {error}") from None
    return _checked(found, name)


def _checked(found: Any, name: str) -> type[Pool]:
    if not (isinstance(found, type) and issubclass(found, Pool)):
        raise ImproperlyConfigured(f"-P {name}: this is not a subclass of taskyard.pool.pool.Pool")
    return found


def enforces_limits(pool: str | type[Pool]) -> bool:
    """Whether time limits hold in that pool."""
    if not isinstance(pool, str):
        return pool.enforces_limits
    return pool == "prefork" or _LANES.get(pool, False)


def default_slots(pool: str | type[Pool], processors: int) -> int:
    """How many jobs at the same time when nobody says."""
    if pool == "solo":
        return 1
    return _COROUTINES if pool == "asyncio" else processors


def open_pool(app: App, pool: str | type[Pool], options: PoolOptions) -> Pool:
    """The pool, without any process or thread yet."""
    if not isinstance(pool, str):
        return pool(app, options)  # type: ignore[call-arg]
    if pool == "solo":
        from taskyard.pool.solo import SoloPool

        return SoloPool(app, options.hostname, store=options.store, pace=options.pace)
    from taskyard.pool.birth import ChildSpec, Cradle

    green = pool in ("gevent", "eventlet")
    spawn = green or options.start_method == "spawn"
    if spawn and not options.app:
        why = f"the pool {pool}" if green else "worker_pool_start_method 'spawn'"
        raise ImproperlyConfigured(
            f"{why} starts new interpreters, which must find the app: give -A module:app"
        )
    spec = ChildSpec(
        hostname=options.hostname,
        lane=pool if pool in _LANES else "serial",
        store=options.store,
        max_memory=options.max_memory,
        app=options.app,
        imports=options.imports,
        log=options.log,
    )
    local = pool in ("threads", "asyncio") and app.conf.effective_read_url().startswith("memory:")
    if local:
        from taskyard.pool.in_process import LocalCradle

        cradle: Cradle = LocalCradle(app, spec)
    else:
        cradle = Cradle(app, spec, spawn=spawn)
    common: dict[str, Any] = {
        "pace": options.pace,
        "max_tasks": options.max_tasks,
        "alive_timeout": options.alive_timeout,
    }
    if pool in _LANES:
        from taskyard.pool.lanes import LanePool

        limits = _LANES[pool]
        processes = 1 if local else options.processes
        return LanePool(cradle, options.slots, processes, enforces_limits=limits, **common)
    from taskyard.pool.prefork import PreforkPool

    return PreforkPool(cradle, options.slots, **common)
