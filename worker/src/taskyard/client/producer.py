"""Publishing: one connection a thread, the queue declared once on it, retried when the connection is lost."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from taskyard.broker.connection import connect, without_password
from taskyard.errors import BrokerDisconnected
from taskyard.message.protocol import TaskMessage

if TYPE_CHECKING:
    from taskyard.client.router import Route
    from taskyard.settings import Settings


class _Line:
    """One open connection with its channel and what was declared on it; of one thread of one process."""

    __slots__ = ("channel", "connection", "declared", "pid")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.channel = connection.channel()
        self.declared: set[str] = set()
        self.pid = os.getpid()


class Producer:
    """Sends task messages; safe to use from any thread and after a fork.

    With `confirm` each publish on AMQP waits for the broker's confirmation: for messages that stand for one
    about to be acknowledged (retries, next steps of a chain).
    """

    def __init__(self, settings: Settings, *, confirm: bool = False) -> None:
        self._settings = settings
        self._confirm = confirm
        self._local = threading.local()

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
        attempts = (policy.get("max_retries") or 0) if wanted else 0
        pause = float(policy.get("interval_start") or 0.0)
        while True:
            line: _Line | None = getattr(self._local, "line", None)
            try:
                if line is None or line.pid != os.getpid():
                    line = self._open()
                self._send(line, message, route, delivery_mode)
            except Exception as error:
                if not self._recoverable(error, line):
                    raise
                self._local.line = None
                _close(line)
                if attempts <= 0:
                    url = without_password(settings.effective_broker_url())
                    raise BrokerDisconnected(f"cannot publish to {url}: {error}") from error
                attempts -= 1
                time.sleep(pause)
                pause = min(pause + float(policy["interval_step"]), float(policy["interval_max"]))
            else:
                return

    def close(self) -> None:
        """Close this thread's connection."""
        line: _Line | None = getattr(self._local, "line", None)
        self._local.line = None
        if line is not None and line.pid == os.getpid():
            _close(line)

    def _open(self) -> _Line:
        settings = self._settings
        options = dict(settings.broker_transport_options)
        url = settings.effective_broker_url()
        if self._confirm and url.startswith(("amqp", "pyamqp")):
            options.setdefault("confirm_publish", True)
        connection = connect(
            url, transport_options=options, connect_timeout=settings.broker_connection_timeout
        )
        connection.connect()
        self._local.line = line = _Line(connection)
        return line

    def _send(self, line: _Line, message: TaskMessage, route: Route, delivery_mode: int) -> None:
        queue = route.queue
        if queue is not None and queue not in line.declared:
            from taskyard.broker.topology import declare_queue

            line.channel = declare_queue(line.connection, line.channel, queue)
            line.declared.add(queue)
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

    def _recoverable(self, error: Exception, line: _Line | None) -> bool:
        if isinstance(error, (OSError, BrokerDisconnected)):
            return True
        if line is None:
            from kombu.exceptions import OperationalError

            return isinstance(error, OperationalError) or type(error).__module__.startswith(
                ("redis.", "amqp.")
            )
        recoverable: tuple[type[BaseException], ...] = (
            *line.connection.recoverable_connection_errors,
            *line.connection.connection_errors,
        )
        return isinstance(error, recoverable)


def _close(line: _Line | None) -> None:
    if line is not None:
        with contextlib.suppress(Exception):  # a connection that is broken already may fail to close
            line.connection.collect()
