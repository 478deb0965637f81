"""From a task's name and the caller's options to queue, exchange and routing key, as Celery routes.

A task that names no exchange goes through the anonymous exchange with the queue's name as routing key; the
publisher declares the queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from taskyard.errors import ImproperlyConfigured
from taskyard.settings import Settings

#: What a route may decide.
_ROUTE_KEYS = frozenset({"queue", "exchange", "routing_key", "priority"})


@dataclass(slots=True, frozen=True)
class Route:
    """Where one message goes."""

    queue: str | None
    exchange: str
    routing_key: str
    priority: int | None


class Router:
    """Resolves routes; routes without options of their own are remembered by task name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._remembered: dict[tuple[str, str | None, int | None], Route] = {}

    def forget(self) -> None:
        """Drop what is remembered, after settings changed."""
        self._remembered.clear()

    def route(
        self,
        name: str,
        queue: str | None = None,
        exchange: str | None = None,
        routing_key: str | None = None,
        priority: int | None = None,
    ) -> Route:
        """The caller's options first, then task_routes, then the defaults."""
        if exchange is None and routing_key is None:
            key = (name, queue, priority)
            found = self._remembered.get(key)
            if found is None:
                found = self._remembered[key] = self._resolve(name, queue, None, None, priority)
            return found
        return self._resolve(name, queue, exchange, routing_key, priority)

    def _resolve(
        self,
        name: str,
        queue: str | None,
        exchange: str | None,
        routing_key: str | None,
        priority: int | None,
    ) -> Route:
        settings = self._settings
        if queue is None and exchange is None:
            rule = self._rule(name)
            queue = rule.get("queue")
            exchange = rule.get("exchange")
            routing_key = routing_key or rule.get("routing_key")
            priority = rule.get("priority") if priority is None else priority
        if priority is None:
            priority = settings.task_default_priority
        default = settings.task_default_queue
        if exchange:
            return Route(queue, exchange, routing_key or queue or default, priority)
        if routing_key and queue is None:
            return Route(default, settings.task_default_exchange or default, routing_key, priority)
        name_of_queue = queue or default
        return Route(name_of_queue, "", name_of_queue, priority)

    def _rule(self, name: str) -> dict[str, Any]:
        for pattern, rule in (self._settings.task_routes or {}).items():
            if pattern == name or fnmatchcase(name, pattern):
                if isinstance(rule, str):
                    return {"queue": rule}
                if not isinstance(rule, dict) or not _ROUTE_KEYS.issuperset(rule):
                    raise ImproperlyConfigured(
                        f"task_routes[{pattern!r}] must be a queue name or a dict of "
                        f"{sorted(_ROUTE_KEYS)}, not {rule!r}"
                    )
                return rule
        return {}
