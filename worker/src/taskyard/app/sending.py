"""How tasks leave an app: a call is composed, announced, serialized and published."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

from taskyard import signals
from taskyard.app.composed import Composed, serialize
from taskyard.app.composing import OMITTED, Composing, parts_of
from taskyard.context import current_worker_request, current_worker_task
from taskyard.errors import AlwaysEagerIgnored

if TYPE_CHECKING:
    from taskyard.app.recent import Recent
    from taskyard.message.alike import Alike
    from taskyard.message.protocol import TaskMessage


class Sending(Composing):
    """`send_task` and its like."""

    #: `send_task` as it is here, whatever a subclass or a tracer puts in its place.
    standard_send_task: ClassVar[Any]

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
        over = producer or publisher or connection
        plain = expires is OMITTED and not (over or countdown or eta or link or link_error or router)
        if plain:
            again = self._recent.another(self, name, args, kwargs, task_id, options)
            if again is not None:
                composed, message = again
                self._publish(composed, message)
                return self._result_of(composed, message.id, result_cls, add_to_parent)
        given = dict(options)
        composed = self._compose(
            name, args, kwargs, countdown, eta, task_id, expires, link, link_error, options, router
        )
        self._prepare(composed)
        if over:
            self._publish_over(producer or publisher, connection, composed)
        else:
            self._publish(composed, composed.message)
        self._published(composed)
        if plain:
            self._recent.note(self, name, given, composed)
        return self._result_of(composed, composed.message.id, result_cls, add_to_parent)

    @property
    def _recent(self) -> Recent:
        try:
            recent: Recent = self._local.recent
        except AttributeError:
            from taskyard.app.recent import Recent

            recent = self._local.recent = Recent()
        return recent

    def _publish(self, composed: Composed, message: TaskMessage | Alike) -> None:
        (self.confirmed_producer if composed.confirmed else self.producer).publish(
            message,
            composed.route,
            retry=composed.retry,
            retry_policy=composed.retry_policy,
            delivery_mode=composed.delivery_mode,
            declare=composed.declare,
        )

    def send_tasks(self, calls: Iterable[Any], *, add_to_parent: bool = True) -> list[Any]:
        """Send many tasks in one go: one write to Redis, one wait for RabbitMQ's confirmations.

        A call is a signature of a task, or a tuple (task or name, args, kwargs, options) whose end may be
        left out.  Returns the results in order; when it raises, any of the tasks may have been sent.
        `add_to_parent` makes the results children of the task that runs here.
        """
        amqp = self.__dict__.get("amqp")
        if amqp is not None and amqp.has_its_own_messages:
            return [self._send_one(call, add_to_parent=add_to_parent) for call in calls]
        from taskyard.app.series import compose_all

        made = compose_all(self, list(calls))
        alone = [each for each, message in made if message is each.message]
        for each in alone:
            self._prepare(each)
        for (confirmed, retry, _), run in groupby(
            made, lambda pair: (pair[0].confirmed, pair[0].retry, id(pair[0].retry_policy))
        ):
            group = list(run)
            (self.confirmed_producer if confirmed else self.producer).publish_many(
                [(message, each.route, each.delivery_mode, each.declare) for each, message in group],
                retry=retry,
                retry_policy=group[0][0].retry_policy,
            )
        for each in alone:
            self._published(each)
        return [self._result_of(each, message.id, None, add_to_parent) for each, message in made]

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
                options = {**task.exec_options(), **options}
        if expires is OMITTED:
            expires = options.get("expires")
        result = send_by_amqp(
            self, name, args, kwargs, countdown, eta, task_id, expires, link, link_error, options, **by
        )
        if add_to_parent and current_worker_request() is not None:
            self._add_trail(result)
        return result

    def _send_one(self, call: Any, *, add_to_parent: bool) -> Any:
        task, args, kwargs, options = parts_of(call)
        known = task if not isinstance(task, str) else self.tasks.find(task)
        if known is not None:
            return known.apply_async(args, kwargs, add_to_parent=add_to_parent, **options)
        return self.send_task(task, args, kwargs, add_to_parent=add_to_parent, **options)

    # -- before and after
    @cached_property
    def stores_prepare(self) -> bool:
        """Whether the result store has to do something before a task is sent."""
        from taskyard.result.backend import Backend

        return getattr(type(self.backend), "on_task_call", None) is not Backend.on_task_call

    def _prepare(self, composed: Composed) -> None:
        if self.stores_prepare and not composed.message.headers["ignore_result"]:
            self.backend.on_task_call(self.producer, composed.message.headers["id"])
        self._announce(composed)
        serialize(composed)

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

    def _result_of(self, composed: Composed, id_: str, result_cls: Any, add_to_parent: bool) -> Any:
        result = self.AsyncResult(id_, task_name=composed.name) if result_cls is None else result_cls(id_)
        result.ignored = bool(composed.message.headers["ignore_result"])
        if composed.parent is not None and add_to_parent:
            self._add_trail(result)
        return result

    def _add_trail(self, result: Any) -> None:
        task = current_worker_task()
        if task is not None and task.trail:
            current_worker_request().children.append(result)  # type: ignore[union-attr]


Sending.standard_send_task = staticmethod(Sending.send_task)
