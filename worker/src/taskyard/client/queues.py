"""The app's queues: what task_queues declares, and queues that are made when a name is first used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kombu import Exchange, Queue

from taskyard.errors import ImproperlyConfigured, QueueNotFound

if TYPE_CHECKING:
    from taskyard.settings import Settings

_TYPES = ("classic", "quorum")


class Queues(dict[str, Any]):
    """Queue name -> kombu Queue; an unknown name makes a queue, unless `create_missing` is off."""

    def __init__(
        self,
        queues: Any = None,
        default_exchange: Exchange | None = None,
        create_missing: bool = True,
        create_missing_queue_type: str | None = None,
        create_missing_queue_exchange_type: str | None = None,
        autoexchange: Callable[[str], Any] | None = None,
        max_priority: int | None = None,
        default_routing_key: str | None = None,
    ) -> None:
        super().__init__()
        if create_missing_queue_type not in (None, *_TYPES):
            raise ImproperlyConfigured(
                f"task_create_missing_queue_type must be classic or quorum, not {create_missing_queue_type!r}"
            )
        self.aliases: dict[str, Any] = {}
        self.default_exchange = default_exchange
        self.default_routing_key = default_routing_key
        self.create_missing = create_missing
        self.create_missing_queue_type = create_missing_queue_type
        self.create_missing_queue_exchange_type = create_missing_queue_exchange_type
        self.autoexchange = autoexchange or Exchange
        self.max_priority = max_priority
        self._consume_from: dict[str, Any] | None = None
        for queue in _entities(queues):
            self.add(queue)
        self._default_consume_from = dict(self)

    def __getitem__(self, name: str) -> Any:
        found = self.aliases.get(name)
        return super().__getitem__(name) if found is None else found

    def __missing__(self, name: str) -> Any:
        if not self.create_missing:
            known = ", ".join(sorted(self)) or "none"
            raise QueueNotFound(
                f"queue {name!r} is not in task_queues (there: {known}) and task_create_missing_queues is off"
            )
        return self.add(self.new_missing(name))

    def __setitem__(self, name: str, queue: Any) -> None:
        if self.default_exchange and not queue.exchange:
            queue.exchange = self.default_exchange
        if not queue.routing_key:
            queue.routing_key = self.default_routing_key
        if self.max_priority is not None:
            queue.queue_arguments = {"x-max-priority": self.max_priority, **(queue.queue_arguments or {})}
        super().__setitem__(name, queue)
        if queue.alias:
            self.aliases[queue.alias] = queue

    def add(self, queue: Any, **options: Any) -> Any:
        """Add a queue: a kombu Queue, or a name with its options (`exchange`, `exchange_type`,
        `routing_key`, ...).
        """
        if not isinstance(queue, Queue):
            queue = _from_options(str(queue), options)
        if self.default_exchange and (queue.exchange is None or queue.exchange.name == ""):
            queue.exchange = self.default_exchange
        self[queue.name] = queue
        return queue

    def new_missing(self, name: str) -> Any:
        """The queue that is made for a name that nobody declared."""
        arguments = {"x-queue-type": "quorum"} if self.create_missing_queue_type == "quorum" else None
        kind = self.create_missing_queue_exchange_type
        exchange = Exchange(name, kind) if kind else self.autoexchange(name)
        return Queue(name, exchange, name, queue_arguments=arguments)

    # -- what a worker consumes
    @property
    def consume_from(self) -> dict[str, Any]:
        """The queues to consume; all that are declared, unless a subset was selected."""
        return self._default_consume_from if self._consume_from is None else self._consume_from

    def select(self, include: str | Iterable[str]) -> None:
        """Consume these queues only."""
        names = _listed(include)
        if names:
            chosen = [self[name] for name in names]
            self._consume_from = {queue.name: queue for queue in chosen}

    def deselect(self, exclude: str | Iterable[str]) -> None:
        """Do not consume these queues."""
        for name in _listed(exclude):
            alias = self.aliases.get(name)
            self.consume_from.pop(name if alias is None else alias.name, None)

    def select_add(self, queue: Any, **options: Any) -> Any:
        """Add a queue and consume it too, whatever was selected."""
        added = self.add(queue, **options)
        self.consume_from[added.name] = added
        return added

    def format(self, indent: int = 0, indent_first: bool = True) -> str:
        """The queues to consume as text, one a line."""
        lines = [
            f".> {queue.name:<16} exchange={queue.exchange.name}({queue.exchange.type}) "
            f"key={queue.routing_key}"
            for _, queue in sorted(self.consume_from.items())
        ]
        pad = " " * indent
        return "\n".join((pad if number or indent_first else "") + line for number, line in enumerate(lines))


def queues_of(
    settings: Settings, queues: Any = None, *, kind: type[Queues] = Queues, **options: Any
) -> Queues:
    """The queues that the settings (or `queues` instead of task_queues) describe."""
    exchange = default_exchange(settings)
    routing_key = settings.task_default_routing_key or settings.task_default_queue
    declared = settings.task_queues if queues is None else queues
    if not declared and settings.task_default_queue:
        queue_type = settings.task_default_queue_type
        if queue_type not in (None, *_TYPES):
            raise ImproperlyConfigured(
                f"task_default_queue_type must be classic or quorum, not {queue_type!r}"
            )
        arguments = {"x-queue-type": "quorum"} if queue_type == "quorum" else None
        declared = [
            Queue(
                settings.task_default_queue,
                exchange=exchange,
                routing_key=routing_key,
                queue_arguments=arguments,
            )
        ]
    return kind(
        declared,
        exchange,
        **{
            "create_missing": settings.task_create_missing_queues,
            "create_missing_queue_type": settings.task_create_missing_queue_type,
            "create_missing_queue_exchange_type": settings.task_create_missing_queue_exchange_type,
            "max_priority": settings.task_queue_max_priority,
            "default_routing_key": routing_key,
            **{name: value for name, value in options.items() if value is not None},
        },
    )


def default_exchange(settings: Settings) -> Any:
    """The exchange of task_default_exchange and task_default_exchange_type."""
    return Exchange(
        settings.task_default_exchange or settings.task_default_queue, settings.task_default_exchange_type
    )


def worker_direct(node: str) -> Any:
    """The queue of one worker by its node name, as Celery's worker_direct has it."""
    if isinstance(node, Queue):
        return node
    return Queue(f"{node}.dq2", Exchange("C.dq2"), node, auto_delete=True)


def _entities(queues: Any) -> list[Any]:
    """kombu queues out of a list of queues and names, or a dict of options by name."""
    if queues is None:
        return []
    if isinstance(queues, Mapping):
        return [
            value if isinstance(value, Queue) else _from_options(name, value or {})
            for name, value in queues.items()
        ]
    if isinstance(queues, (str, Queue)):
        queues = [queues]
    return [each if isinstance(each, Queue) else _from_options(str(each), {}) for each in queues]


def _from_options(name: str, options: Any) -> Any:
    if not isinstance(options, Mapping):
        raise ImproperlyConfigured(
            f"task_queues[{name!r}] must be a kombu Queue or a dict such as "
            f"{{'exchange': ..., 'routing_key': ...}}, not {options!r}"
        )
    settings = dict(options)
    key = settings.pop("binding_key", None)
    settings["routing_key"] = settings.get("routing_key") or key or name
    return Queue.from_dict(name, **settings)


def _listed(names: str | Iterable[str]) -> list[str]:
    if not names:
        return []
    return [names] if isinstance(names, str) else list(names)
