"""`app.amqp`: queues, routes and messages as programs written for Celery ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from kombu import Connection, Consumer, Producer, Queue

from taskyard.client.queues import Queues, default_exchange, queues_of
from taskyard.client.routes import as_options, prepare
from taskyard.errors import ImproperlyConfigured
from taskyard.message.protocol import headers_of, iso_date

if TYPE_CHECKING:
    from taskyard.app import App

__all__ = ["AMQP", "Queues", "task_message", "utf8dict"]


class task_message(NamedTuple):  # noqa: N801  Celery's name
    """A message that is not yet encoded."""

    headers: dict[str, Any]
    properties: dict[str, Any]
    body: Any
    sent_event: dict[str, Any] | None


def utf8dict(values: Mapping[Any, Any], encoding: str = "utf-8") -> dict[str, Any]:
    """The dict with its bytes keys as text."""
    return {key.decode(encoding) if isinstance(key, bytes) else key: value for key, value in values.items()}


class Router:
    """Routes in Celery's form: options of apply_async in, options with a kombu Queue out."""

    def __init__(self, app: App, queues: Queues | None = None, create_missing: bool | None = None) -> None:
        self.app = app
        self.queues = app.router.queues if queues is None else queues
        self.create_missing = (
            app.conf.task_create_missing_queues if create_missing is None else create_missing
        )

    @property
    def routes(self) -> list[Any]:
        """The prepared routers of task_routes."""
        return self.app.router.routes.routers

    def route(
        self,
        options: Mapping[str, Any] | str,
        name: str,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        task_type: Any = None,
    ) -> dict[str, Any]:
        """The options completed by task_routes, or by the default queue."""
        given = self.expand_destination(options)
        answer = self.lookup_route(name, args, kwargs, given, task_type)
        if not answer and "queue" not in given:
            answer = {"queue": self.app.conf.task_default_queue}
        chosen = {option: value for option, value in given.items() if value is not None}
        return {**self.expand_destination(answer or {}), **chosen}

    def lookup_route(
        self, name: str, args: Any = None, kwargs: Any = None, options: Any = None, task_type: Any = None
    ) -> dict[str, Any] | None:
        """What task_routes says about a task, or None."""
        return self.app.router.routes.lookup(name, args, kwargs, options, task_type) or None

    def expand_destination(self, route: Mapping[str, Any] | str) -> dict[str, Any]:
        """The route with its queue as a kombu Queue."""
        options = as_options(route)
        queue = options.pop("queue", None)
        if queue:
            options["queue"] = queue if isinstance(queue, Queue) else self.queues[queue]
        return options


#: What programs put their own in place of, to look at messages or to change them.
_MESSAGE_METHODS = frozenset({"create_task_message", "as_task_v2", "send_task_message"})


class AMQP:
    """Reached as `app.amqp`."""

    Connection = Connection
    Consumer = Consumer
    Producer = Producer
    BrokerConnection = Connection
    queues_cls = Queues
    #: Makes the exchange of a queue that nobody declared, from the queue's name.
    autoexchange: Any = None
    #: Longest representation of arguments, characters.
    argsrepr_maxsize = kwargsrepr_maxsize = 1024

    #: Whether a subclass makes or publishes messages in its own way.
    _own_messages = False

    def __init__(self, app: App) -> None:
        self.app = app

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._own_messages = any(getattr(cls, name) is not getattr(AMQP, name) for name in _MESSAGE_METHODS)

    @property
    def has_its_own_messages(self) -> bool:
        """Whether tasks are sent by calls of the methods here: somebody has put others in their place."""
        return self._own_messages or not _MESSAGE_METHODS.isdisjoint(self.__dict__)

    # -- queues and routes
    @property
    def queues(self) -> Any:
        """The app's `Queues`."""
        return self.app.router.queues

    @queues.setter
    def queues(self, queues: Any) -> None:
        self.app.router.queues = queues if isinstance(queues, Queues) else self.Queues(queues)

    def Queues(self, queues: Any, **options: Any) -> Any:  # noqa: N802  Celery's name
        """Queues with the app's defaults."""
        options.setdefault("autoexchange", self.autoexchange)
        return queues_of(self.app.conf, queues, **options)

    @property
    def default_queue(self) -> Any:
        """The queue of tasks that nothing routes."""
        return self.queues[self.app.conf.task_default_queue]

    @cached_property
    def default_exchange(self) -> Any:
        """The exchange of queues that name none."""
        return default_exchange(self.app.conf)

    @property
    def routes(self) -> list[Any]:
        """The prepared routers of task_routes."""
        return self.app.router.routes.routers

    @property
    def router(self) -> Router:
        """The router in Celery's form."""
        return self.Router()

    def Router(  # noqa: N802  Celery's name
        self, queues: Any = None, create_missing: bool | None = None
    ) -> Router:
        """A router over the app's routes."""
        return Router(self.app, queues, create_missing)

    def flush_routes(self) -> None:
        """Look at task_routes and task_queues anew."""
        prepare(self.app.conf.task_routes)  # what is wrong is refused before the old routes are dropped
        self.app.router.forget()

    # -- consuming and publishing by hand
    def TaskConsumer(  # noqa: N802  Celery's name
        self, channel: Any, queues: Any = None, accept: Any = None, **options: Any
    ) -> Any:
        """A kombu Consumer of the queues that a worker would consume."""
        return self.Consumer(
            channel,
            accept=self.app.conf.accept_content if accept is None else accept,
            queues=queues or list(self.queues.consume_from.values()),
            **options,
        )

    @property
    def producer_pool(self) -> Any:
        """kombu's pool of producers for the app's broker."""
        from kombu.pools import producers

        limit = self.app.conf.broker_pool_limit
        pool = producers[self.app.connection_for_write()]
        if limit:
            pool.limit = limit
        return pool

    # -- messages
    def create_task_message(self, *args: Any, **options: Any) -> task_message:
        """A message of the task protocol in use."""
        if self.app.conf.task_protocol != 2:
            raise ImproperlyConfigured("task_protocol must be 2; protocol 1 is read, never written")
        return self.as_task_v2(*args, **options)

    def as_task_v2(
        self,
        task_id: str,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        group_id: str | None = None,
        group_index: int | None = None,
        expires: Any = None,
        retries: int = 0,
        chord: Any = None,
        callbacks: Any = None,
        errbacks: Any = None,
        reply_to: str | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        create_sent_event: bool = False,
        root_id: str | None = None,
        parent_id: str | None = None,
        shadow: str | None = None,
        chain: Any = None,
        ignore_result: bool | None = False,
        argsrepr: str | None = None,
        kwargsrepr: str | None = None,
        stamped_headers: list[str] | None = None,
        replaced_task_nesting: int = 0,
        **options: Any,
    ) -> task_message:
        """A message of task protocol 2, not yet encoded; times as apply_async takes them."""
        args, kwargs = args or (), kwargs or {}
        if not isinstance(args, (list, tuple)):
            raise TypeError("task args must be a list or tuple")
        if not isinstance(kwargs, Mapping):
            raise TypeError("task keyword arguments must be a mapping")
        headers = headers_of(
            name,
            task_id,
            args,
            kwargs,
            eta=iso_date(countdown, "countdown") if countdown else iso_date(eta, "eta"),
            expires=iso_date(expires, "expires"),
            retries=retries,
            timelimit=(time_limit, soft_time_limit),
            ignore_result=ignore_result,
            root_id=root_id,
            parent_id=parent_id,
            group_id=group_id,
            group_index=group_index,
            shadow=shadow,
            argsrepr=argsrepr,
            kwargsrepr=kwargsrepr,
            replaced_task_nesting=replaced_task_nesting,
            stamped_headers=stamped_headers,
            stamps={header: options[header] for header in stamped_headers or []},
            levels=self.app.conf.task_repr_maxlevels,
        )
        sent = None
        if create_sent_event:
            sent = {
                "uuid": task_id,
                "root_id": headers["root_id"],
                "parent_id": parent_id,
                "name": name,
                "args": headers["argsrepr"],
                "kwargs": headers["kwargsrepr"],
                "retries": retries,
                "eta": headers["eta"],
                "expires": headers["expires"],
            }
        embed = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain, "chord": chord}
        properties = {"correlation_id": task_id, "reply_to": reply_to or ""}
        return task_message(headers, properties, (args, kwargs, embed), sent)

    def send_task_message(
        self, producer: Any, name: str, message: task_message, headers: Any = None, **options: Any
    ) -> Any:
        """Publish a message of `as_task_v2` by a kombu Producer, routed as options and settings say."""
        conf = self.app.conf
        place = {key: options.pop(key, None) for key in ("queue", "exchange", "routing_key", "priority")}
        route = self.app.router.route(name, **place)
        options.setdefault("serializer", conf.task_serializer)
        options.setdefault("compression", conf.task_compression)
        options.setdefault("delivery_mode", route.delivery_mode or conf.task_default_delivery_mode)
        options.setdefault("declare", [] if route.entity is None else [route.entity])
        if route.priority is not None:
            options["priority"] = route.priority
        return producer.publish(
            message.body,
            exchange=route.exchange,
            routing_key=route.routing_key,
            headers={**message.headers, **(headers or {})},
            **{**message.properties, **options},
        )
