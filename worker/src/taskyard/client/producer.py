"""Publishing: over a pool of connections, the queue declared once on each, retried when one is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from math import inf
from typing import TYPE_CHECKING, Any

from taskyard.broker.connection import is_redis, without_password
from taskyard.broker.lines import Line, Lines, is_unreachable
from taskyard.broker.topology import is_plain_queue
from taskyard.errors import BrokerDisconnected
from taskyard.message.protocol import TaskMessage

if TYPE_CHECKING:
    from taskyard.broker.redis.line import RedisLine, RedisLines
    from taskyard.client.router import Route
    from taskyard.message.alike import Alike
    from taskyard.settings import Settings


class Producer:
    """Sends task messages; safe to use from any thread and after a fork.

    With `confirm` each publish on AMQP waits for the broker's confirmation: for messages that stand for one
    about to be acknowledged (retries, next steps of a chain).
    """

    def __init__(self, settings: Settings, *, confirm: bool = False) -> None:
        self._settings = settings
        self._lines = Lines(settings, confirm=confirm)
        self._redis: RedisLines | None = None
        self._redis_known = False

    def publish(
        self,
        message: TaskMessage | Alike,
        route: Route,
        *,
        retry: bool | None = None,
        retry_policy: dict[str, Any] | None = None,
        delivery_mode: int = 2,
        declare: Iterable[Any] | None = None,
    ) -> None:
        """Publish; BrokerDisconnected when the broker stays away longer than the retry policy allows.

        `declare` are kombu queues and exchanges to make sure of besides the route's.
        """

        redis = self._redis_lines()
        if redis is not None and not declare and not message.publishing and is_simple(route):

            def push(line: RedisLine) -> None:
                line.declare(route.queue, route.entity)
                line.publish_one(message, route, delivery_mode)

            self._retrying(redis, push, retry, retry_policy)
            return

        def send(line: Line) -> None:
            _declare(line, route, declare)
            if not isinstance(message, TaskMessage) and _takes_frames(line):
                from taskyard.broker.amqp_stencil import frames_of, write

                frames = frames_of(line.channel, message, route, delivery_mode)
                if frames is not None:
                    write(line.channel, frames)
                    return
            self._send(line, line.channel.basic_publish, message, route, delivery_mode)

        self._retrying(self._lines, send, retry, retry_policy)

    def publish_many(
        self,
        messages: Collection[tuple[TaskMessage | Alike, Route, int, Iterable[Any] | None]],
        *,
        retry: bool | None = None,
        retry_policy: dict[str, Any] | None = None,
    ) -> None:
        """Publish all, each with its route, delivery mode and entities to declare; the broker has them when
        this returns.  After a lost connection all are sent again: some may then arrive twice.
        """
        redis = self._redis_lines()
        if redis is not None and _are_simple(messages):

            def push(line: RedisLine) -> None:
                for route in {id(route): route for _, route, _, _ in messages}.values():
                    line.declare(route.queue, route.entity)
                line.publish((message, route, mode) for message, route, mode, _ in messages)

            self._retrying(redis, push, retry, retry_policy)
            return
        from taskyard.client.bulk import batch

        def send(line: Line) -> None:
            for _, route, _, declare in messages:
                _declare(line, route, declare)
            with batch(line) as publish:
                alike = getattr(publish, "alike", None)
                for message, route, delivery_mode, _ in messages:
                    if alike is not None and type(message) is not TaskMessage:
                        alike(message, route, delivery_mode)
                    else:
                        self._send(line, publish, message, route, delivery_mode)

        self._retrying(self._lines, send, retry, retry_policy)

    def _redis_lines(self) -> RedisLines | None:
        """Lines to Redis, if that is the broker; None where kombu is wanted."""
        if not self._redis_known:
            self._redis_known = True
            if is_redis(str(self._settings.effective_write_url())):
                from taskyard.broker.redis.line import redis_lines

                self._redis = redis_lines(self._settings)
        return self._redis

    def _retrying(
        self,
        lines: Lines,
        send: Callable[[Any], None],
        retry: bool | None,
        retry_policy: dict[str, Any] | None,
    ) -> None:
        attempts: float | None = None
        pause = 0.0
        while True:
            line: Any = None
            try:
                line = lines.take()
                send(line)
            except BaseException as error:
                broken = is_unreachable(error) if line is None else line.broke_with(error)
                if line is not None:
                    lines.drop(line)
                if not broken:
                    raise
                policy = {**self._settings.task_publish_retry_policy, **(retry_policy or {})}
                if attempts is None:
                    attempts = self._attempts(policy, retry)
                    pause = float(policy.get("interval_start") or 0.0)
                if attempts <= 0:
                    raise self._unreachable(error, line) from error
                attempts -= 1
                time.sleep(pause)
                step, longest = policy.get("interval_step", 0.2), policy.get("interval_max", 1)
                pause = min(pause + float(step), float(longest))
            else:
                lines.give_back(line)
                return

    def _unreachable(self, error: BaseException, line: Any) -> Exception:
        from taskyard.client.unreachable import BrokerUnreachable

        if line is None and isinstance(error, BrokerDisconnected):
            return BrokerUnreachable(str(error))
        url = without_password(self._settings.effective_write_url() if line is None else line.url)
        return BrokerUnreachable(f"cannot publish to {url}: {error}")

    def _attempts(self, policy: dict[str, Any], retry: bool | None) -> float:
        if not (self._settings.task_publish_retry if retry is None else retry):
            return 0
        most = policy.get("max_retries", 3)
        return inf if most is None else float(most)

    def close(self) -> None:
        """Close the connections that no thread is using."""
        self._lines.close()
        if self._redis is not None:
            self._redis.close()

    def _send(
        self,
        line: Line,
        publish: Callable[..., Any],
        message: TaskMessage | Alike,
        route: Route,
        delivery_mode: int,
    ) -> None:
        properties: dict[str, Any] = {**message.properties, "delivery_mode": delivery_mode}
        channel = line.channel
        if line.connection.transport.driver_type != "amqp":
            properties["delivery_info"] = {"exchange": route.exchange, "routing_key": route.routing_key}
        prepared = channel.prepare_message(
            message.body,
            priority=message.priority if message.priority is not None else (route.priority or 0),
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            headers=message.headers,
            properties=properties,
        )
        publish(
            prepared, exchange=route.exchange, routing_key=route.routing_key, **(message.publishing or {})
        )


def _takes_frames(line: Line) -> bool:
    """Whether messages go to RabbitMQ and nobody waits for its confirmations."""
    if line.connection.transport.driver_type != "amqp":
        return False
    return not getattr(line.channel.connection, "confirm_publish", True)


def _declare(line: Line, route: Route, more: Iterable[Any] | None) -> None:
    if route.queue is not None or route.entity is not None:
        line.declare(route.queue, route.entity)
    for entity in more or ():
        line.declare(None if _is_exchange(entity) else entity.name, entity)


def _are_simple(messages: Collection[tuple[TaskMessage | Alike, Route, int, Iterable[Any] | None]]) -> bool:
    last = None
    for message, route, _, declare in messages:
        if declare or (route is not last and not is_simple(route)):
            return False
        if type(message) is TaskMessage and message.publishing:
            return False
        last = route
    return True


def is_simple(route: Route) -> bool:
    """Whether a message goes to one plain queue by its name."""
    entity = route.entity
    if route.exchange or route.queue != route.routing_key:
        return False
    return entity is None or (not _is_exchange(entity) and is_plain_queue(entity))


def _is_exchange(entity: Any) -> bool:
    return not hasattr(entity, "queue_arguments")
