"""From a task's name and the caller's options to queue, exchange and routing key, as Celery routes.

A task that names no exchange and goes to a queue of a direct exchange is published through the anonymous
exchange with the queue's name as routing key; the publisher declares the queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taskyard.client.routes import Routes

if TYPE_CHECKING:
    from taskyard.client.queues import Queues
    from taskyard.settings import Settings

#: Where a message goes; a caller who names the place overrules all of these of a route.
_PLACE = ("queue", "exchange", "exchange_type", "routing_key")
#: Routes that are remembered at most: queues may be named after users.
_REMEMBERED = 10_000


@dataclass(slots=True, frozen=True)
class Route:
    """Where one message goes."""

    #: Name of the queue, None where only the exchange is known.
    queue: str | None
    exchange: str
    routing_key: str
    priority: int | None
    #: kombu Queue or Exchange that the publisher makes sure of; None: a queue of that name as Celery declares
    #: it, if there is a name.
    entity: Any = None
    #: 1 transient, 2 persistent; None: as the settings say.
    delivery_mode: int | None = None
    #: What else task_routes says: options of apply_async that the caller left open.
    options: Mapping[str, Any] = field(default_factory=dict)


class Router:
    """Resolves routes; those that a task's name alone decides are remembered."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._remembered: dict[tuple[str, Any, int | None], Route] = {}
        self._queues: Queues | None = None
        self._selected: list[str] | None = None
        self._routes: Routes | None = None

    def forget(self) -> None:
        """Drop what is remembered, after settings changed."""
        self._remembered.clear()
        self._queues = self._routes = None

    def forget_routes(self) -> None:
        """Look at task_routes anew; queues stay as they are."""
        self._remembered.clear()
        self._routes = None

    @property
    def queues(self) -> Queues:
        """The app's queues."""
        if self._queues is None:
            from taskyard.client.queues import queues_of

            self._queues = queues_of(self._settings)
            if self._selected:
                self._queues.select(self._selected)
        return self._queues

    @queues.setter
    def queues(self, queues: Queues) -> None:
        self._remembered.clear()
        self._queues = queues

    def select(self, names: list[str] | None) -> bool:
        """Consume these queues (None: the default one), if their names say all about them; False if there
        is more to know, which `queues` knows.
        """
        if self._queues is not None or not self._names_suffice():
            return False
        self._selected = names or [self._settings.task_default_queue]
        return True

    @property
    def consumed(self) -> list[str] | None:
        """What `select` has chosen, as long as nothing else was declared since."""
        return self._selected if self._queues is None else None

    def _names_suffice(self) -> bool:
        """Whether each queue is a durable one, bound by its name to a direct exchange of its name."""
        conf = self._settings
        default = conf.task_default_queue
        return (
            bool(default)
            and not conf.task_queues
            and conf.task_default_exchange in (None, default)
            and conf.task_default_exchange_type == "direct"
            and conf.task_default_routing_key in (None, default)
            and conf.task_default_queue_type in (None, "classic")
            and conf.task_queue_max_priority is None
            and conf.task_create_missing_queues
            and conf.task_create_missing_queue_type in (None, "classic")
            and conf.task_create_missing_queue_exchange_type is None
        )

    @property
    def routes(self) -> Routes:
        """The prepared task_routes."""
        if self._routes is None:
            self._routes = Routes(self._settings.task_routes)
        return self._routes

    def route(
        self,
        name: str,
        queue: Any = None,
        exchange: Any = None,
        routing_key: str | None = None,
        priority: int | None = None,
        *,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        task: Any = None,
    ) -> Route:
        """The caller's options first, then task_routes, then the defaults.

        `queue` is a name or a kombu Queue, `exchange` a name or a kombu Exchange; `args`, `kwargs`, `options`
        (the other options of the call) and `task` are for routers that are functions.
        """
        if exchange is None and routing_key is None and self.routes.by_name and type(queue) in _PLAIN:
            key = (name, queue, priority)
            found = self._remembered.get(key)
            if found is None:
                if len(self._remembered) >= _REMEMBERED:
                    self._remembered.clear()
                found = self._remembered[key] = self._resolve({"queue": queue, "priority": priority}, name)
            return found
        given = {"queue": queue, "exchange": exchange, "routing_key": routing_key, "priority": priority}
        return self._resolve({**(options or {}), **given}, name, args, kwargs, task)

    def _resolve(
        self,
        given: Mapping[str, Any],
        name: str,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        task: Any = None,
    ) -> Route:
        chosen = {option: value for option, value in given.items() if value is not None}
        answer = self.routes.lookup(name, args, kwargs, chosen, task)
        if "queue" in chosen or "exchange" in chosen:
            answer = {option: value for option, value in answer.items() if option not in _PLACE}
        return self._destination({**answer, **chosen}, answer)

    def _destination(self, options: dict[str, Any], answer: Mapping[str, Any]) -> Route:
        """Queue, exchange and routing key as Celery's sender finds them."""
        settings = self._settings
        queue, exchange = options.get("queue"), options.get("exchange")
        routing_key = options.get("routing_key")
        if not queue and not exchange:
            queue = settings.task_default_queue
        if isinstance(queue, str) and queue and not (exchange or options.get("exchange_type")):  # noqa: SIM102
            if self._is_named_only():
                return self._by_name(queue, options, answer)
        entity = self.queues[queue] if isinstance(queue, str) and queue else queue or None
        priority = options.get("priority")
        if priority is None:
            priority = settings.task_default_priority
        mode = options.get("delivery_mode") or getattr(
            getattr(entity, "exchange", None) or exchange, "delivery_mode", None
        )
        declared = exchange if hasattr(exchange, "declare") else self._exchange(exchange)
        exchange = getattr(exchange, "name", exchange)
        if entity is not None:
            kind = options.get("exchange_type") or entity.exchange.type or "direct"
            if kind == "direct" and not (exchange and routing_key):
                exchange, routing_key = "", entity.name
            elif not exchange:
                exchange = entity.exchange.name
                routing_key = routing_key or entity.routing_key
            if _is_broadcast(entity):
                # Each consumer has a queue of its own: there is none that a publisher could declare.
                declared, entity = entity.exchange, None
        rest = {
            option: value
            for option, value in answer.items()
            if option not in (*_PLACE, "priority", "delivery_mode") and value is not None
        }
        return Route(
            None if entity is None else entity.name,
            exchange or "",
            routing_key or settings.task_default_routing_key or settings.task_default_queue,
            priority,
            declared if entity is None else entity,
            mode,
            rest,
        )

    def _is_named_only(self) -> bool:
        """Whether a queue's name says all about it, on a broker that needs no more than that."""
        if self._queues is not None:
            return False
        return str(self._settings.effective_write_url()).startswith("redis://") and self._names_suffice()

    def _by_name(self, queue: str, options: Mapping[str, Any], answer: Mapping[str, Any]) -> Route:
        priority = options.get("priority")
        if priority is None:
            priority = self._settings.task_default_priority
        rest = {
            option: value
            for option, value in answer.items()
            if option not in (*_PLACE, "priority", "delivery_mode") and value is not None
        }
        return Route(queue, "", queue, priority, None, options.get("delivery_mode"), rest)

    def _exchange(self, name: str | None) -> Any:
        """The exchange of that name in task_queues: brokers that are no AMQP ask publishers for its type."""
        if not name or not self._settings.task_queues:
            return None
        exchanges = (queue.exchange for queue in self.queues.values())
        return next((exchange for exchange in exchanges if exchange and exchange.name == name), None)


_PLAIN = (str, type(None))


def _is_broadcast(queue: Any) -> bool:
    return type(queue).__name__ == "Broadcast"
