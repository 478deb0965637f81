"""Publishing: over a pool of connections, the queue declared once on each, retried when one is lost."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Any

from taskyard.broker.connection import without_password
from taskyard.broker.lines import Line, Lines, is_unreachable
from taskyard.errors import BrokerDisconnected
from taskyard.message.protocol import TaskMessage

if TYPE_CHECKING:
    from taskyard.client.router import Route
    from taskyard.settings import Settings


class Producer:
    """Sends task messages; safe to use from any thread and after a fork.

    With `confirm` each publish on AMQP waits for the broker's confirmation: for messages that stand for one
    about to be acknowledged (retries, next steps of a chain).
    """

    def __init__(self, settings: Settings, *, confirm: bool = False) -> None:
        self._settings = settings
        self._lines = Lines(settings, confirm=confirm)

    def publish(
        self,
        message: TaskMessage,
        route: Route,
        *,
        retry: bool | None = None,
        retry_policy: dict[str, Any] | None = None,
        delivery_mode: int = 2,
    ) -> None:
        """Publish; BrokerDisconnected when the broker stays away longer than the retry policy allows."""
        settings = self._settings
        policy = {**settings.task_publish_retry_policy, **(retry_policy or {})}
        wanted = settings.task_publish_retry if retry is None else retry
        most = policy.get("max_retries", 0)
        attempts = (inf if most is None else most) if wanted else 0
        pause = float(policy.get("interval_start") or 0.0)
        while True:
            line: Line | None = None
            try:
                line = self._lines.take()
                self._send(line, message, route, delivery_mode)
            except BaseException as error:
                broken = is_unreachable(error) if line is None else line.broke_with(error)
                if line is not None:
                    self._lines.drop(line)
                if not broken:
                    raise
                if attempts <= 0:
                    if line is None and isinstance(error, BrokerDisconnected):
                        raise
                    url = without_password(settings.effective_write_url() if line is None else line.url)
                    raise BrokerDisconnected(f"cannot publish to {url}: {error}") from error
                attempts -= 1
                time.sleep(pause)
                pause = min(pause + float(policy["interval_step"]), float(policy["interval_max"]))
            else:
                self._lines.give_back(line)
                return

    def close(self) -> None:
        """Close the connections that no thread is using."""
        self._lines.close()

    def _send(self, line: Line, message: TaskMessage, route: Route, delivery_mode: int) -> None:
        if route.queue is not None or route.entity is not None:
            line.declare(route.queue, route.entity)
        properties: dict[str, Any] = {
            **message.properties,
            "delivery_mode": delivery_mode,
            "delivery_info": {"exchange": route.exchange, "routing_key": route.routing_key},
        }
        channel = line.channel
        if line.connection.transport.driver_type == "amqp":
            del properties["delivery_info"]
        prepared = channel.prepare_message(
            message.body,
            priority=message.priority if message.priority is not None else (route.priority or 0),
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            headers=message.headers,
            properties=properties,
        )
        channel.basic_publish(prepared, exchange=route.exchange, routing_key=route.routing_key)
