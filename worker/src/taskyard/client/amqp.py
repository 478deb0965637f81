"""`app.amqp`: queues, routes and messages as programs written for Celery ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from kombu import Connection, Consumer, Producer

from taskyard import signals
from taskyard.client.queues import Queues, default_exchange, queues_of
from taskyard.client.routes import Router, prepare
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
    _producer_pool: Any = None
    _router: Router | None = None

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

    def Queues(  # noqa: N802  Celery's name
        self, queues: Any, create_missing: bool | None = None, **options: Any
    ) -> Any:
        """Queues with the app's defaults."""
        options.setdefault("autoexchange", self.autoexchange)
        return queues_of(
            self.app.conf, queues, create_missing=create_missing, kind=self.queues_cls, **options
        )

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
        """The router in Celery's form; another one after `flush_routes`."""
        if self._router is None:
            self._router = self.Router()
        return self._router

    def Router(  # noqa: N802  Celery's name
        self, queues: Any = None, create_missing: bool | None = None
    ) -> Router:
        """A router over the app's routes."""
        if create_missing is None:
            create_missing = self.app.conf.task_create_missing_queues
        return Router(self.routes, queues or self.queues, create_missing, app=self.app)

    def flush_routes(self) -> None:
        """Look at task_routes anew."""
        prepare(self.app.conf.task_routes)  # what is wrong is refused before the old routes are dropped
        self._router = None
        self.app.router.forget_routes()

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
        from kombu.pools import ProducerPool

        connections, known = self.app.pool, self._producer_pool
        if known is None or known.connections is not connections:
            known = self._producer_pool = ProducerPool(connections, limit=self.app.conf.broker_pool_limit)
        return known

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
        self,
        producer: Any,
        name: str,
        message: task_message,
        exchange: Any = None,
        routing_key: str | None = None,
        queue: Any = None,
        event_dispatcher: Any = None,
        retry: bool | None = None,
        retry_policy: Mapping[str, Any] | None = None,
        serializer: str | None = None,
        delivery_mode: Any = None,
        compression: str | None = None,
        declare: Any = None,
        headers: Mapping[str, Any] | None = None,
        exchange_type: str | None = None,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
        **properties: Any,
    ) -> Any:
        """Publish a message of `as_task_v2` by a kombu Producer, with the signals and the event task-sent."""
        conf = self.app.conf
        all_headers, own, body, sent_event = message
        all_headers.update(headers or {})
        own.update(properties)
        if queue is None and exchange is None:
            queue = self.default_queue
        elif isinstance(queue, str):
            queue = self.queues[queue]
        place = getattr(queue, "exchange", None)
        exchange_type = exchange_type or getattr(place, "type", "direct")
        if exchange_type == "direct" and not (exchange and routing_key):
            exchange, routing_key = "", queue.name if queue is not None else routing_key
        elif exchange is None:
            exchange = (place.name if place is not None else None) or self.default_exchange
            routing_key = routing_key or queue.routing_key or conf.task_default_routing_key
        if declare is None and queue is not None and not _is_broadcast(queue):
            declare = [queue]
        retry = conf.task_publish_retry if retry is None else retry
        policy = {**conf.task_publish_retry_policy, **(retry_policy or {})}
        signals.before_task_publish.send(
            sender=name,
            body=body,
            exchange=exchange,
            routing_key=routing_key,
            declare=declare,
            headers=all_headers,
            properties=own,
            retry_policy=policy,
        )
        sent = producer.publish(
            body,
            exchange=exchange,
            routing_key=routing_key,
            serializer=serializer or conf.task_serializer,
            compression=compression or conf.task_compression,
            retry=retry,
            retry_policy=policy,
            delivery_mode=(
                delivery_mode or getattr(place, "delivery_mode", None) or conf.task_default_delivery_mode
            ),
            declare=declare,
            headers=all_headers,
            timeout=timeout,
            confirm_timeout=confirm_timeout,
            **own,
        )
        signals.after_task_publish.send(
            sender=name, body=body, headers=all_headers, exchange=exchange, routing_key=routing_key
        )
        if sent_event:
            sent_event.update(
                queue=getattr(queue, "name", None),
                exchange=getattr(exchange, "name", exchange),
                routing_key=routing_key,
            )
            dispatcher = event_dispatcher or self.app.events.Dispatcher(enabled=False)
            dispatcher.publish("task-sent", sent_event, producer, retry=retry, retry_policy=policy)
        return sent


def _is_broadcast(queue: Any) -> bool:
    return type(queue).__name__ == "Broadcast"
