"""Sending events from any program over kombu: Celery's `EventDispatcher`.

The worker's own events do not come by here: its parent sends them without waiting (worker/remote/eventer.py).
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

from kombu import Producer

from taskyard.events.event import Event, get_exchange, group_from, utcoffset
from taskyard.message.identity import origin

__all__ = ("EventDispatcher",)


class EventDispatcher:
    """Sends events; those of `buffer_group` in batches as `<group>.multi` lists.

    `groups` limits what is sent (none: everything).  What cannot be sent is kept for `flush` if
    `buffer_while_offline`.
    """

    DISABLED_TRANSPORTS = frozenset({"sql"})
    app: Any = None

    def __init__(
        self,
        connection: Any = None,
        hostname: str | None = None,
        enabled: bool = True,
        channel: Any = None,
        buffer_while_offline: bool = True,
        app: Any = None,
        serializer: str | None = None,
        groups: Iterable[str] | None = None,
        delivery_mode: int = 1,
        buffer_group: Iterable[str] | None = None,
        buffer_limit: int = 24,
        on_send_buffered: Callable[[], None] | None = None,
    ) -> None:
        if app is not None:
            self.app = app
        self.connection = connection or (channel.connection.client if channel else None)
        self.channel = channel
        self.hostname = hostname or origin()
        self.buffer_while_offline = buffer_while_offline
        self.buffer_group = frozenset(buffer_group or ())
        self.buffer_limit = buffer_limit
        self.on_send_buffered = on_send_buffered
        self.mutex = threading.Lock()
        self.producer: Any = None
        self.serializer = serializer or self.app.conf.event_serializer
        self.on_enabled: set[Callable[[], None]] = set()
        self.on_disabled: set[Callable[[], None]] = set()
        self.groups = set(groups or ())
        self.clock = self.app.clock
        self.delivery_mode = delivery_mode
        self._closed = False
        self._unsent: deque[tuple[Any, str]] = deque()
        self._batches: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        conninfo = self.connection or self.app.connection_for_write()
        self.exchange = get_exchange(conninfo, self.app.conf.event_exchange)
        self.enabled = enabled and conninfo.transport.driver_type not in self.DISABLED_TRANSPORTS
        if self.enabled:
            self.enable()
        self.headers = {"hostname": self.hostname}
        self.pid = os.getpid()

    def __enter__(self) -> EventDispatcher:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def enable(self) -> None:
        """Send from now on."""
        with self.mutex:
            self.producer = Producer(
                self.channel or self.connection,
                exchange=self.exchange,
                serializer=self.serializer,
                auto_declare=False,
            )
            self._closed = False
            self.enabled = True
        for callback in self.on_enabled:
            callback()

    def disable(self) -> None:
        """Send nothing from now on."""
        if self.enabled:
            self.enabled = False
            self.close()
            for callback in self.on_disabled:
                callback()

    def publish(
        self,
        type: str,
        fields: dict[str, Any],
        producer: Any,
        blind: bool = False,
        Event: Callable[..., dict[str, Any]] = Event,  # noqa: N803  Celery's name
        **kwargs: Any,
    ) -> None:
        """Send one event by the caller's producer; `blind` leaves the logical clock alone."""
        event = self._event(type, fields, blind, Event)
        with self.mutex:
            self._publish(event, producer, type.replace("-", "."), **kwargs)

    def send(
        self,
        type: str,
        blind: bool = False,
        retry: bool = False,
        retry_policy: dict[str, Any] | None = None,
        Event: Callable[..., dict[str, Any]] = Event,  # noqa: N803  Celery's name
        **fields: Any,
    ) -> None:
        """Send one event, or add it to its group's batch."""
        group = group_from(type)
        if not self.enabled or (self.groups and group not in self.groups):
            return
        if group in self.buffer_group:
            batch = self._batches[group]
            batch.append(self._event(type, fields, False, Event))
            if len(batch) >= self.buffer_limit:
                self.flush()
            elif self.on_send_buffered is not None:
                self.on_send_buffered()
            return
        event = self._event(type, fields, blind, Event)
        with self.mutex:
            if not self._closed:
                self._publish(event, self.producer, type.replace("-", "."), retry, retry_policy)

    def flush(self, errors: bool = True, groups: bool = True) -> None:
        """Send what could not be sent before (`errors`), and the batches (`groups`)."""
        with self.mutex:
            if self._closed:
                return
            if errors:
                for _ in range(len(self._unsent)):
                    self._publish(*_order(self._unsent.popleft(), self.producer))
            if groups:
                for group, events in self._batches.items():
                    if events:
                        # A copy: what cannot be sent is kept as the object that it was handed in as.
                        batch = list(events)
                        self._publish(batch, self.producer, f"{group}.multi")
                        del events[: len(batch)]

    def extend_buffer(self, other: EventDispatcher) -> None:
        """Take over what another dispatcher could not send."""
        self._unsent.extend(other._unsent)

    def close(self) -> None:
        """Send nothing more by the dispatcher's own producer."""
        with self.mutex:
            self._closed = True
            self.producer = None

    def _event(
        self, type: str, fields: dict[str, Any], blind: bool, make: Callable[..., dict[str, Any]]
    ) -> dict[str, Any]:
        clock = None if blind else self.clock.forward()
        return make(type, hostname=self.hostname, utcoffset=utcoffset(), pid=self.pid, clock=clock, **fields)

    def _publish(
        self,
        event: Any,
        producer: Any,
        routing_key: str,
        retry: bool = False,
        retry_policy: dict[str, Any] | None = None,
    ) -> None:
        if producer is None:
            return
        try:
            producer.publish(
                event,
                routing_key=routing_key,
                exchange=self.exchange.name,
                retry=retry,
                retry_policy=retry_policy,
                declare=[self.exchange],
                serializer=self.serializer,
                headers=self.headers,
                delivery_mode=self.delivery_mode,
            )
        except Exception:
            if not self.buffer_while_offline:
                raise
            self._unsent.append((event, routing_key))

    @property
    def publisher(self) -> Any:
        """The producer, by its older name."""
        return self.producer

    @publisher.setter
    def publisher(self, producer: Any) -> None:
        self.producer = producer


def _order(unsent: tuple[Any, str], producer: Any) -> tuple[Any, Any, str]:
    return unsent[0], producer, unsent[1]
