"""Typed settings under Celery's lower-case names.

Only what has a meaning here exists; any other name is refused with the nearest one.  Defaults are Celery's
except where the table in docs says otherwise: acknowledgement after the task, prefetch multiplier 1,
publisher retries.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from taskyard.errors import ImproperlyConfigured

#: Environment variables that win over the app's own settings.
ENVIRONMENT = {"broker_url": "TASKYARD_BROKER_URL", "result_backend": "TASKYARD_RESULT_BACKEND"}


def _publish_policy() -> dict[str, Any]:
    return {"max_retries": 3, "interval_start": 0.0, "interval_step": 0.2, "interval_max": 0.2}


@dataclass(slots=True)
class Settings(Mapping[str, Any]):
    """All settings of one app; attribute and item access, both checked."""

    #: kombu URL of the broker.
    broker_url: str = "amqp://guest@localhost//"
    #: Seconds to wait for a connection to be accepted.
    broker_connection_timeout: float = 4.0
    #: Keep trying while the broker is away at start; otherwise the worker ends with one line.
    broker_connection_retry_on_startup: bool = True
    #: Seconds between AMQP heartbeats; 0 switches them off.
    broker_heartbeat: float = 60.0
    #: Passed to the transport as it is.
    broker_transport_options: dict[str, Any] = field(default_factory=dict)
    #: URL of the result store; None: results are not kept.
    result_backend: str | None = None
    result_backend_transport_options: dict[str, Any] = field(default_factory=dict)
    #: Life of a result, in seconds or as a timedelta; None or 0: for ever.
    result_expires: float | timedelta | None = 86400
    #: Store name, arguments, worker, retries and queue with each result.
    result_extended: bool = False
    task_serializer: str = "json"
    #: Content types (or their short names) that the worker decodes; all others are dead-lettered.
    accept_content: list[str] | tuple[str, ...] | set[str] = ("json",)
    task_default_queue: str = "celery"
    task_default_exchange: str | None = None
    task_default_routing_key: str | None = None
    task_default_priority: int | None = None
    #: Task name or glob -> {"queue": ..., "priority": ...} or queue name.
    task_routes: dict[str, Any] | None = None
    task_ignore_result: bool = False
    task_store_errors_even_if_ignored: bool = False
    task_track_started: bool = False
    #: True (Celery: False): a message whose process is lost in mid-task is delivered again.  False: the
    #: task has failed then.  The acknowledgement itself is sent after the task in both cases.
    task_acks_late: bool = True
    task_acks_on_failure_or_timeout: bool = True
    #: A message whose process was lost is delivered again, within the redelivery limit (True here, False in
    #: Celery).
    task_reject_on_worker_lost: bool = True
    #: Deliveries after which a task whose process keeps dying fails for good; a queue's own maxDeliveries
    #: wins.
    task_max_deliveries: int = 5
    task_time_limit: float | None = None
    task_soft_time_limit: float | None = None
    task_publish_retry: bool = True
    task_publish_retry_policy: dict[str, Any] = field(default_factory=_publish_policy)
    #: IANA name of the time zone that naive dates are in.
    timezone: str = "UTC"
    imports: list[str] | tuple[str, ...] = ()
    include: list[str] | tuple[str, ...] = ()
    worker_concurrency: int | None = None
    worker_prefetch_multiplier: int = 1
    worker_max_tasks_per_child: int | None = None
    #: KiB of resident memory after which a child is replaced.
    worker_max_memory_per_child: int | None = None
    worker_pool: str = "prefork"
    #: Let the worker fetch ahead and bundle while tasks prove to be short (a few ms).
    worker_adaptive_prefetch: bool = True
    worker_log_format: str = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"

    def __setattr__(self, name: str, value: object) -> None:
        types = _types()
        if name not in types:
            raise ImproperlyConfigured(unknown_setting(name))
        object.__setattr__(self, name, _checked(name, value, types[name]))

    def __getitem__(self, name: str) -> Any:
        if name not in _types():
            raise KeyError(unknown_setting(name))
        return getattr(self, name)

    def __setitem__(self, name: str, value: object) -> None:
        setattr(self, name, value)

    def __iter__(self) -> Iterator[str]:
        return iter(_types())

    def __len__(self) -> int:
        return len(_types())

    def update(self, settings: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set many at once; all names are checked before any value changes."""
        merged = {**(settings or {}), **more}
        for name in merged:
            if name not in _types():
                raise ImproperlyConfigured(unknown_setting(name))
        for name, value in merged.items():
            setattr(self, name, value)

    def effective_broker_url(self) -> str:
        """The broker URL; the environment wins."""
        return os.environ.get(ENVIRONMENT["broker_url"]) or self.broker_url

    def effective_result_backend(self) -> str | None:
        """The result store's URL or None; the environment wins."""
        url = os.environ.get(ENVIRONMENT["result_backend"]) or self.result_backend
        return None if url in (None, "", "disabled", "disabled://") else url

    def result_expires_seconds(self) -> int:
        """Life of a result in whole seconds, 0 for ever."""
        expires = self.result_expires
        if isinstance(expires, timedelta):
            expires = expires.total_seconds()
        return int(expires or 0)


def unknown_setting(name: str) -> str:
    """The line that refuses a setting, with the nearest name that exists."""
    near = get_close_matches(name.lower(), list(_types()), n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown setting {name!r}{hint}"


_cached_types: dict[str, tuple[type, ...]] = {}


def _types() -> dict[str, tuple[type, ...]]:
    if not _cached_types:
        hints = get_type_hints(Settings)
        for each in fields(Settings):
            _cached_types[each.name] = tuple(_plain_types(hints[each.name]))
    return _cached_types


def _plain_types(hint: Any) -> Iterator[type]:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        for part in get_args(hint):
            yield from _plain_types(part)
    else:
        yield origin or hint


def _checked(name: str, value: object, allowed: tuple[type, ...]) -> object:
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return value
    wrong_bool = isinstance(value, bool) and bool not in allowed
    if wrong_bool or not isinstance(value, allowed):
        wanted = " or ".join("None" if each is NoneType else each.__name__ for each in allowed)
        raise ImproperlyConfigured(
            f"setting {name!r} must be {wanted}, not {type(value).__name__} ({value!r})"
        )
    return value
