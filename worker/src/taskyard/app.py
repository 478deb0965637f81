"""App: settings, the registry of tasks, and the ways to send them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from datetime import datetime, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from taskyard.client.producer import Producer
from taskyard.client.router import Router
from taskyard.context import Request, current_request
from taskyard.errors import NotSupported
from taskyard.message.codec import dumps
from taskyard.message.identity import new_id
from taskyard.message.protocol import TaskMessage, headers_of, iso_date
from taskyard.registry import Registry
from taskyard.result.result import AsyncResult
from taskyard.result.result import AsyncResult as AsyncResultOf
from taskyard.settings import Settings
from taskyard.task import Task, make_task

if TYPE_CHECKING:
    from taskyard.control import Control
    from taskyard.events import Events
    from taskyard.result.backend import Backend

P = ParamSpec("P")
R = TypeVar("R")

#: Headers that a broker adds on dead-lettering or redelivery; a retry is a new message and must not carry
#: them on.
_DELIVERY_HEADERS = (
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-last-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
    "x-delivery-count",
    "x-taskyard-deliveries",
    "x-taskyard-death",
    "redelivered",
)


class App:
    """A Celery application by another name: `app = App("shop", broker="redis://...")`."""

    def __init__(
        self,
        main: str | None = None,
        *,
        broker: str | None = None,
        backend: str | None = None,
        include: Iterable[str] = (),
        **settings: Any,
    ) -> None:
        self.main = main
        self.conf = Settings()
        if broker is not None:
            self.conf.broker_url = broker
        if backend is not None:
            self.conf.result_backend = backend
        self.conf.include = list(include)
        self.conf.update(settings)
        self.tasks = Registry()
        self.router = Router(self.conf)
        #: The reply_to of what this app sends; replies of the rpc backend would go there.
        self.oid = new_id()

    def __repr__(self) -> str:
        return f"<App {self.main or '__main__'}>"

    @cached_property
    def producer(self) -> Producer:
        """What sends messages to the broker."""
        return Producer(self.conf)

    @cached_property
    def confirmed_producer(self) -> Producer:
        """What sends messages that replace one about to be acknowledged."""
        return Producer(self.conf, confirm=True)

    @cached_property
    def backend(self) -> Backend:
        """The result store."""
        from taskyard.result.opening import open_backend

        return open_backend(self)

    @cached_property
    def clock(self) -> Any:
        """The logical clock that events and remote control carry."""
        from kombu.clocks import LamportClock

        return LamportClock()

    @cached_property
    def control(self) -> Control:
        """Remote control of the workers."""
        from taskyard.control import Control

        return Control(self)

    @cached_property
    def events(self) -> Events:
        """Receiving and sending events."""
        from taskyard.events import Events

        return Events(self)

    def connection_for_write(self) -> Any:
        """A kombu connection to the broker, not yet open."""
        from taskyard.broker.connection import connect

        return connect(
            self.conf.effective_broker_url(),
            transport_options=self.conf.broker_transport_options,
            connect_timeout=self.conf.broker_connection_timeout,
        )

    connection_for_read = connection_for_write

    @cached_property
    def timezone(self) -> tzinfo:
        """The zone that naive dates are in."""
        from taskyard.zones import zone_of

        return zone_of(self.conf.timezone, enable_utc=self.conf.enable_utc)

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        self, /, *, bind: Literal[True], **options: Any
    ) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...

    @overload
    def task(self, /, **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...

    def task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Make a function a task, as decorator with or without options (`base` is the class to derive
        from).
        """

        def register(body: Callable[..., Any]) -> Task[..., Any]:
            own = dict(options)
            base = own.pop("base", None) or Task
            task = make_task(self, body, base, own)
            self.tasks.register(task)
            return task

        return register if function is None else register(function)

    def register_task(self, task: Task[..., Any] | type[Task[..., Any]]) -> Task[..., Any]:
        """Register an instance (or class) of a class-based task."""
        instance = task() if isinstance(task, type) else task
        kind = type(instance)
        instance.app = self
        instance.name = instance.name or f"{kind.__module__}.{kind.__name__}"
        instance.origin = f"{kind.__module__}:{kind.__qualname__}"
        self.tasks.register(instance)
        return instance

    def name_of(self, function: Callable[..., Any]) -> str:
        """The name a function gets without `name=`: its module and its own name."""
        module = function.__module__
        if module == "__main__":
            main = sys.modules["__main__"]
            spec = getattr(main, "__spec__", None)
            module = self.main or (spec.name if spec else "__main__")
        return f"{module}.{function.__name__}"

    def AsyncResult(self, task_id: str) -> AsyncResultOf[Any]:  # noqa: N802  Celery's name
        """The result of a task by its id."""
        return AsyncResult(task_id, app=self)

    def send_task(
        self,
        name: str,
        args: tuple[Any, ...] | list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | str | None = None,
        expires: float | datetime | str | None = None,
        task_id: str | None = None,
        queue: str | None = None,
        exchange: str | None = None,
        routing_key: str | None = None,
        priority: int | None = None,
        headers: dict[str, Any] | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        ignore_result: bool | None = None,
        serializer: str | None = None,
        compression: str | None = None,
        link: Any = None,
        link_error: Any = None,
        chain: list[dict[str, Any]] | None = None,
        chord: dict[str, Any] | None = None,
        group_id: str | None = None,
        group_index: int | None = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        shadow: str | None = None,
        retries: int = 0,
        reply_to: str | None = None,
        retry: bool | None = None,
        retry_policy: dict[str, Any] | None = None,
        argsrepr: str | None = None,
        kwargsrepr: str | None = None,
        replaced_task_nesting: int = 0,
        stamped_headers: list[str] | None = None,
        delivery_mode: int | None = None,
        add_to_parent: bool = True,
        confirmed: bool = False,
        **stamps: Any,
    ) -> AsyncResultOf[Any]:
        """Send a task by name; times are in seconds or dates, limits in seconds.

        `confirmed` waits for the broker's confirmation where it gives one.  Stamps are the keyword arguments
        that `stamped_headers` names.
        """
        args = () if args is None else args
        kwargs = {} if kwargs is None else kwargs
        if not isinstance(args, (list, tuple)):
            raise TypeError(f"task args must be a list or tuple, not {type(args).__name__}")
        if not isinstance(kwargs, dict):
            raise TypeError(f"task kwargs must be a dict, not {type(kwargs).__name__}")
        stamp_names = stamped_headers or []
        unknown = [option for option in stamps if option not in stamp_names]
        if unknown:
            raise TypeError(f"unknown option {unknown[0]!r} of send_task/apply_async")
        if time_limit is not None and soft_time_limit is not None and soft_time_limit > time_limit:
            raise ValueError("soft_time_limit must be less than or equal to time_limit")
        if compression is not None:
            raise NotSupported("compression is not available yet; leave it out")
        id_ = task_id or new_id()
        parent = current_request()
        if parent is not None and not parent.called_directly:
            root_id = root_id or parent.root_id
            parent_id = parent_id or parent.id
        elif parent is not None:
            parent = None
        conf = self.conf
        body, content_type, content_encoding = dumps(
            (
                args,
                kwargs,
                {
                    "callbacks": _listed(link),
                    "errbacks": _listed(link_error),
                    "chain": chain or None,
                    "chord": chord,
                },
            ),
            serializer or conf.task_serializer,
        )
        message_headers = headers_of(
            name,
            id_,
            args,
            kwargs,
            eta=iso_date(countdown or None, self.timezone, "countdown")
            if eta is None
            else iso_date(eta, self.timezone, "eta"),
            expires=None if expires is None else iso_date(expires, self.timezone, "expires"),
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
            stamps={each: stamps[each] for each in stamp_names if each in stamps},
        )
        if headers:
            message_headers.update(headers)
        properties = {"correlation_id": id_, "reply_to": reply_to or self.oid}
        if expires is not None:
            properties["expiration"] = _expiration(message_headers["expires"])
        message = TaskMessage(message_headers, properties, body, content_type, content_encoding)
        route = self.router.route(name, queue, exchange, routing_key, priority)
        producer = self.confirmed_producer if confirmed else self.producer
        producer.publish(
            message, route, retry=retry, retry_policy=retry_policy, delivery_mode=delivery_mode or 2
        )
        result: AsyncResult[Any] = AsyncResult(id_, task_name=name, app=self)
        if parent is not None and add_to_parent:
            parent.children.append(result)
        return result

    def send_again(self, request: Request, args: Any, kwargs: Any, *, retries: int, **options: Any) -> None:
        """Send the message of a running task once more: same id, links, limits, queue and user headers."""
        hard, soft = (request.timelimit or (None, None))[:2]
        info = request.delivery_info
        own = {
            name: value for name, value in (request.headers or {}).items() if name not in _DELIVERY_HEADERS
        }
        route: dict[str, Any] = {"queue": info.get("routing_key")}
        if info.get("exchange"):
            route = {"exchange": info["exchange"], "routing_key": info.get("routing_key")}
        settings: dict[str, Any] = {
            "task_id": request.id,
            "root_id": request.root_id,
            "parent_id": request.parent_id,
            "group_id": request.group,
            "group_index": request.group_index,
            "shadow": request.shadow,
            "expires": request.expires,
            "ignore_result": request.ignore_result,
            "time_limit": hard,
            "soft_time_limit": soft,
            "reply_to": request.reply_to,
            "link": request.callbacks,
            "link_error": request.errbacks,
            "chain": request.chain,
            "chord": request.chord,
            "replaced_task_nesting": request.replaced_task_nesting or 0,
            "headers": own or None,
            "priority": info.get("priority"),
            "stamped_headers": request.stamped_headers,
            **(request.stamps or {}),
            **route,
        }
        settings.update({name: value for name, value in options.items() if value is not None})
        self.send_task(
            str(request.task), args, kwargs, retries=retries, add_to_parent=False, confirmed=True, **settings
        )


def _listed(value: Any) -> list[Any] | None:
    if not value:
        return None
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _expiration(expires: str) -> str:
    """The AMQP expiration property: milliseconds as text, "0" when it has passed."""
    moment = datetime.fromisoformat(expires)
    return str(max(0, int((moment.timestamp() - datetime.now(moment.tzinfo).timestamp()) * 1000)))
