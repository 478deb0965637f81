"""How tasks leave an app: from a name, arguments and options to a published message."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from taskyard import signals
from taskyard.app.state import AppState
from taskyard.client import confirming
from taskyard.context import current_worker_request, current_worker_task
from taskyard.errors import AlwaysEagerIgnored
from taskyard.message.codec import JSON, dump_json, dumps
from taskyard.message.identity import new_id
from taskyard.message.protocol import TaskMessage, headers_of, iso_date

if TYPE_CHECKING:
    from taskyard.client.router import Route
    from taskyard.context import Request

#: Stands for an option that the caller did not name, where None has a meaning.
OMITTED: Any = object()

#: Options that are the transport's.
_PUBLISHING = frozenset({"mandatory", "immediate", "timeout", "confirm_timeout"})
#: Properties of AMQP (and of SQS) that a caller may set.
_PROPERTIES = frozenset(
    {
        "app_id", "cluster_id", "correlation_id", "expiration", "message_id", "timestamp", "type", "user_id",
        "MessageGroupId", "MessageDeduplicationId", "MessageAttributes", "DelaySeconds",
    }
)  # fmt: skip
#: Options of apply_async that other parts have used up when they come here, or that only Celery knows.
_IGNORED = ("exchange_type", "result_cls", "link", "link_error", "countdown", "eta", "task_id", "producer")


class Composed(NamedTuple):
    """A message on its way, not yet serialized: receivers of before_task_publish may change it."""

    name: str
    message: TaskMessage
    route: Route
    payload: tuple[Any, dict[str, Any], dict[str, Any]]
    serializer: str
    compression: str | None
    #: kombu entities that the caller wants declared.
    declare: Any
    retry: bool | None
    retry_policy: dict[str, Any] | None
    delivery_mode: Any
    #: Wait for the broker's confirmation.
    confirmed: bool
    #: What runs here, if this is sent by a task.
    parent: Request | None


class Sending(AppState):
    """`send_task` and its like."""

    def send_task(
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: datetime | str | None = None,
        task_id: str | None = None,
        producer: Any = None,
        connection: Any = None,
        router: Any = None,
        result_cls: Any = None,
        expires: float | datetime | str | None = OMITTED,
        publisher: Any = None,
        link: Any = None,
        link_error: Any = None,
        add_to_parent: bool = True,
        **options: Any,
    ) -> Any:
        """Send a task by name; an AsyncResult.

        Times are in seconds or dates, limits in seconds.  `options` are the rest of apply_async's: queue,
        exchange, routing_key, priority, headers, time_limit, soft_time_limit, ignore_result, serializer,
        compression, shadow, retry, retry_policy, reply_to, stamps with `stamped_headers`, ... and `confirmed`
        to wait for the broker's confirmation where it gives one.
        """
        if self.conf.task_always_eager:
            warnings.warn(AlwaysEagerIgnored("task_always_eager has no effect on send_task"), stacklevel=2)
        amqp = self.__dict__.get("amqp")
        if amqp is not None and amqp.has_its_own_messages:
            return self._send_by_amqp(
                name, args, kwargs, countdown, eta, task_id, expires, link, link_error, options,
                router=router, producer=producer or publisher, connection=connection, result_cls=result_cls,
                add_to_parent=add_to_parent,
            )  # fmt: skip
        composed = self._compose(
            name, args, kwargs, countdown, eta, task_id, expires, link, link_error, options, router
        )
        self._prepare(composed)
        if producer or publisher or connection:
            self._publish_over(producer or publisher, connection, composed)
        else:
            (self.confirmed_producer if composed.confirmed else self.producer).publish(
                composed.message,
                composed.route,
                retry=composed.retry,
                retry_policy=composed.retry_policy,
                delivery_mode=composed.delivery_mode,
                declare=composed.declare,
            )
        self._published(composed)
        return self._result_of(composed, result_cls, add_to_parent)

    def send_tasks(self, calls: Iterable[Any], *, add_to_parent: bool = True) -> list[Any]:
        """Send many tasks in one go: one write to Redis, one wait for RabbitMQ's confirmations.

        A call is a signature of a task, or a tuple (task or name, args, kwargs, options) whose end may be
        left out.  Returns the results in order; when it raises, any of the tasks may have been sent.
        `add_to_parent` makes the results children of the task that runs here.
        """
        amqp = self.__dict__.get("amqp")
        if amqp is not None and amqp.has_its_own_messages:
            return [self._send_one(call, add_to_parent=add_to_parent) for call in calls]
        composed = [self._compose_call(call) for call in calls]
        for each in composed:
            self._prepare(each)
        for (confirmed, retry, _), run in groupby(
            composed, lambda each: (each.confirmed, each.retry, id(each.retry_policy))
        ):
            group = list(run)
            (self.confirmed_producer if confirmed else self.producer).publish_many(
                [(each.message, each.route, each.delivery_mode, each.declare) for each in group],
                retry=retry,
                retry_policy=group[0].retry_policy,
            )
        for each in composed:
            self._published(each)
        return [self._result_of(each, None, add_to_parent) for each in composed]

    def _send_by_amqp(
        self,
        name: str,
        args: Any,
        kwargs: Any,
        countdown: Any,
        eta: Any,
        task_id: str | None,
        expires: Any,
        link: Any,
        link_error: Any,
        options: dict[str, Any],
        *,
        add_to_parent: bool = True,
        **by: Any,
    ) -> Any:
        from taskyard.app.by_amqp import send_by_amqp

        if options.get("task_type") is None:
            task = self._tasks.find(name)
            if task is not None:
                known = {option: value for option, value in task.exec_options().items() if value is not None}
                options = {**known, **options}
        if expires is OMITTED:
            expires = options.get("expires")
        result = send_by_amqp(
            self, name, args, kwargs, countdown, eta, task_id, expires, link, link_error, options, **by
        )
        if add_to_parent and current_worker_request() is not None:
            self._add_trail(result)
        return result

    def _send_one(self, call: Any, *, add_to_parent: bool) -> Any:
        task, args, kwargs, options = _parts(call)
        known = task if not isinstance(task, str) else self.tasks.find(task)
        if known is not None:
            return known.apply_async(args, kwargs, add_to_parent=add_to_parent, **options)
        return self.send_task(task, args, kwargs, add_to_parent=add_to_parent, **options)

    def _compose_call(self, call: Any) -> Composed:
        task, args, kwargs, options = _parts(call)
        name = getattr(task, "name", task)
        known = task if task is not name else self.tasks.find(name)
        if known is not None:
            args, kwargs, options = known.prepare_call(args, kwargs, options)
            options["task_type"] = known
        take = options.pop
        return self._compose(
            name,
            args,
            kwargs,
            take("countdown", None),
            take("eta", None),
            take("task_id", None),
            take("expires", OMITTED),
            take("link", None),
            take("link_error", None),
            options,
            None,
        )

    def _compose(
        self,
        name: str,
        args: Any,
        kwargs: Any,
        countdown: float | None,
        eta: datetime | str | None,
        task_id: str | None,
        expires: Any,
        link: Any,
        link_error: Any,
        options: dict[str, Any],
        router: Any,
    ) -> Composed:
        args = () if args is None else args
        kwargs = {} if kwargs is None else kwargs
        if not isinstance(args, (list, tuple)):
            raise TypeError(f"task args must be a list or tuple, not {type(args).__name__}")
        if not isinstance(kwargs, dict):
            raise TypeError(f"task keyword arguments must be a mapping (a dict), not {type(kwargs).__name__}")
        task = options.get("task_type")
        if task is None:
            task = self._tasks.find(name)
            if task is not None:
                options = {**task.exec_options(), **options}
        if router is not None:  # one of Celery's form, as app.amqp.Router() makes
            options = dict(router.route(options, options.get("route_name") or name, args, kwargs, task))
        given = options.get
        route = self.router.route(
            given("route_name") or name,
            given("queue"),
            given("exchange"),
            given("routing_key"),
            given("priority"),
            args=args,
            kwargs=kwargs,
            options=options,
            task=task,
        )
        for option, value in route.options.items():
            if given(option) is None:
                options[option] = value
        if expires is not OMITTED and (expires is not None or given("task_type") is None):
            options["expires"] = expires
        return self._message(
            route, name, args, kwargs, countdown, eta, task_id or new_id(), link, link_error, **options
        )

    def _message(
        self,
        route: Route,
        name: str,
        args: Any,
        kwargs: dict[str, Any],
        countdown: float | None,
        eta: datetime | str | None,
        id_: str,
        link: Any,
        link_error: Any,
        *,
        queue: Any = None,
        routing_key: str | None = None,
        exchange: Any = None,
        expires: Any = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        ignore_result: bool | None = None,
        serializer: str | None = None,
        compression: str | None = None,
        priority: int | None = None,
        delivery_mode: Any = None,
        shadow: str | None = None,
        task_type: Any = None,
        immediate: bool | None = None,
        mandatory: bool | None = None,
        headers: dict[str, Any] | None = None,
        retries: int | None = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_id: str | None = None,
        group_index: int | None = None,
        chain: Any = None,
        chord: Any = None,
        reply_to: str | None = None,
        argsrepr: str | None = None,
        kwargsrepr: str | None = None,
        replaced_task_nesting: int | None = None,
        stamped_headers: Any = None,
        origin: str | None = None,
        confirmed: bool = False,
        declare: Any = None,
        retry: bool | None = None,
        retry_policy: dict[str, Any] | None = None,
        route_name: str | None = None,
        **rest: Any,
    ) -> Composed:
        conf = self.conf
        if time_limit is not None and soft_time_limit is not None and soft_time_limit > time_limit:
            raise ValueError("soft_time_limit must be less than or equal to time_limit")
        parent = current_worker_request()
        confirmed = confirmed or confirming.confirmed.get()
        if parent is not None:
            root_id = root_id or parent.root_id
            parent_id = parent_id or parent.id
            # What takes this message's place (a retry, a replacement) must not be lost when this one is
            # acknowledged.
            confirmed = confirmed or id_ == parent.id
            if conf.task_inherit_parent_priority and priority is None and route.priority is None:
                priority = (parent.delivery_info or {}).get("priority")
        stamps = None
        if stamped_headers:
            stamps = {each: rest.pop(each) for each in stamped_headers if each in rest}
        made = headers_of(
            name,
            id_,
            args,
            kwargs,
            eta=None if not eta and not countdown else self._eta(eta, countdown),
            expires=None if expires is None else iso_date(expires, "expires"),
            retries=retries or 0,
            timelimit=(time_limit, soft_time_limit),
            ignore_result=ignore_result,
            root_id=root_id,
            parent_id=parent_id,
            group_id=group_id,
            group_index=group_index,
            shadow=shadow,
            argsrepr=argsrepr,
            kwargsrepr="{}" if kwargsrepr is None and not kwargs else kwargsrepr,
            replaced_task_nesting=replaced_task_nesting or 0,
            stamped_headers=stamped_headers,
            stamps=stamps,
            levels=conf.task_repr_maxlevels,
        )
        if origin:
            made["origin"] = origin
        if headers:
            made.update(headers)
        properties = {"correlation_id": id_, "reply_to": reply_to or self.thread_oid}
        if expires is not None and not chord and not chain:
            # What has expired may be dropped by RabbitMQ without a word, so not where something waits for it.
            properties["expiration"] = _expiration(made["expires"])
        embed = {
            "callbacks": _listed(link) if link else None,
            "errbacks": _listed(link_error) if link_error else None,
            "chain": chain or None,
            "chord": chord,
        }
        mode: Any = delivery_mode or route.delivery_mode or conf.task_default_delivery_mode
        message = TaskMessage(made, properties, b"", priority=priority)
        if immediate or mandatory:
            rest.update(immediate=immediate, mandatory=mandatory)
        if rest:
            _put_rest(message, rest, strict=conf.strict)
        return Composed(
            name,
            message,
            route,
            (args, kwargs, embed),
            serializer or conf.task_serializer,
            compression or conf.task_compression,
            declare,
            retry,
            retry_policy,
            _DELIVERY_MODES.get(mode, mode),
            confirmed,
            parent,
        )

    def _eta(self, eta: Any, countdown: Any) -> str | None:
        if eta:
            return iso_date(eta, "eta")
        if isinstance(countdown, (str, datetime)):
            raise TypeError(f"countdown must be seconds, not {countdown!r:.80}")
        return iso_date(countdown, "countdown")

    # -- before and after
    @cached_property
    def _stores_prepare(self) -> bool:
        """Whether the result store has to do something before a task is sent."""
        from taskyard.result.backend import Backend

        return getattr(type(self.backend), "on_task_call", None) is not Backend.on_task_call

    def _prepare(self, composed: Composed) -> None:
        if self._stores_prepare and not composed.message.headers["ignore_result"]:
            self.backend.on_task_call(self.producer, composed.message.headers["id"])
        self._announce(composed)
        _serialize(composed)

    def _announce(self, composed: Composed) -> None:
        if not signals.before_task_publish:
            return
        message, route = composed.message, composed.route
        signals.before_task_publish.send(
            sender=composed.name,
            body=composed.payload,
            exchange=route.exchange,
            routing_key=route.routing_key,
            declare=composed.declare or ([route.entity] if route.entity is not None else []),
            headers=message.headers,
            properties=message.properties,
            retry_policy=composed.retry_policy or self.conf.task_publish_retry_policy,
        )

    def _published(self, composed: Composed) -> None:
        message, route = composed.message, composed.route
        if signals.after_task_publish:
            signals.after_task_publish.send(
                sender=composed.name,
                body=composed.payload,
                headers=message.headers,
                exchange=route.exchange,
                routing_key=route.routing_key,
            )
        if self.conf.task_send_sent_event:
            self._send_sent_event(composed)

    def _send_sent_event(self, composed: Composed) -> None:
        headers, route = composed.message.headers, composed.route
        fields = {
            "uuid": headers["id"],
            "root_id": headers["root_id"],
            "parent_id": headers["parent_id"],
            "name": headers["task"],
            "args": headers["argsrepr"],
            "kwargs": headers["kwargsrepr"],
            "retries": headers["retries"],
            "eta": headers["eta"],
            "expires": headers["expires"],
            "queue": route.queue or route.routing_key,
            "exchange": route.exchange,
            "routing_key": route.routing_key,
        }
        app: Any = self
        with app.producer_or_acquire() as producer:
            app.events.Dispatcher(enabled=False).publish(
                "task-sent",
                fields,
                producer,
                retry=self.conf.task_publish_retry if composed.retry is None else composed.retry,
                retry_policy={**self.conf.task_publish_retry_policy, **(composed.retry_policy or {})},
            )

    def _publish_over(self, producer: Any, connection: Any, composed: Composed) -> None:
        """Publish with a kombu producer (or on a connection) of the caller's."""
        from taskyard.client.over import publish_over

        def over(chosen: Any) -> None:
            publish_over(
                chosen,
                composed.message,
                composed.route,
                self.conf,
                retry=composed.retry,
                retry_policy=composed.retry_policy,
                delivery_mode=composed.delivery_mode,
                declare=composed.declare,
            )

        if producer is None:
            from kombu import Producer

            with Producer(connection, auto_declare=False) as own:
                over(own)
        else:
            over(producer)

    def _result_of(self, composed: Composed, result_cls: Any, add_to_parent: bool) -> Any:
        headers, parent = composed.message.headers, composed.parent
        if result_cls is None:
            result = self.AsyncResult(headers["id"], task_name=composed.name)
        else:
            result = result_cls(headers["id"])
        result.ignored = bool(headers["ignore_result"])
        if parent is not None and add_to_parent:
            self._add_trail(result)
        return result

    def _add_trail(self, result: Any) -> None:
        task = current_worker_task()
        if task is not None and task.trail:
            current_worker_request().children.append(result)  # type: ignore[union-attr]


_NO_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_NO_EMBED_JSON = b"," + dump_json(_NO_EMBED) + b"]"
_DELIVERY_MODES = {"transient": 1, "persistent": 2}


def _parts(call: Any) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Task (or name), arguments and options of a call of `send_tasks`."""
    if isinstance(call, dict):
        if call.get("subtask_type"):
            raise TypeError(f"send_tasks takes tasks, not a {call['subtask_type']}; call its apply_async()")
        return call["task"], call.get("args"), call.get("kwargs"), dict(call.get("options") or {})
    if not isinstance(call, tuple) or not 1 <= len(call) <= 4:
        raise TypeError(f"send_tasks takes signatures or (task, args, kwargs, options), not {call!r:.80}")
    task, args, kwargs, options = (*call, None, None, None)[:4]
    return task, args, kwargs, dict(options or {})


def _serialize(composed: Composed) -> None:
    try:
        _encode(composed)
    except (TypeError, ValueError, RecursionError) as error:
        from kombu.exceptions import EncodeError

        raise EncodeError(f"the arguments of {composed.name} cannot be sent: {error}") from error


def _encode(composed: Composed) -> None:
    message, payload = composed.message, composed.payload
    if composed.serializer == "json" and payload[2] == _NO_EMBED:
        # Most tasks: what the embed is need not be found out each time.
        message.body = dump_json(payload[:2])[:-1] + _NO_EMBED_JSON
        message.content_type, message.content_encoding = JSON, "utf-8"
    else:
        message.body, message.content_type, message.content_encoding = dumps(payload, composed.serializer)
    if composed.compression:
        from taskyard.message.compression import compress

        message.body, message.headers["compression"] = compress(message.body, composed.compression)


def _put_rest(message: TaskMessage, options: dict[str, Any], *, strict: bool) -> None:
    """Options for the transport and properties; what nobody knows is an error, in Celery a property."""
    for option, value in options.items():
        if option in _PUBLISHING:
            message.publishing = {**(message.publishing or {}), option: value}
        elif option in _PROPERTIES or not (strict or option in _IGNORED):
            if value is not None or not strict:
                message.properties[option] = value
        elif option not in _IGNORED:
            raise TypeError(f"unknown option {option!r} of send_task/apply_async")


def _listed(value: Any) -> list[Any] | None:
    if not value:
        return None
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _expiration(expires: str) -> str:
    """The AMQP expiration property: milliseconds as text, "0" when it has passed."""
    moment = datetime.fromisoformat(expires)
    return str(max(0, int((moment.timestamp() - datetime.now(moment.tzinfo).timestamp()) * 1000)))
