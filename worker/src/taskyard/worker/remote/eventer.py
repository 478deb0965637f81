"""The worker's events: worker-* at once, task-* as one list for each turn of the loop.

Task events flow while somebody asked for them (`-E`, `worker_send_task_events`, or `enable_events` lately)
or listens, as far as the wire can tell (`Wire.probe`); not at all after `disable_events`.
"""

from __future__ import annotations

import logging
import os
import platform
from collections import deque
from collections.abc import Callable
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from taskyard.events.event import utcoffset
from taskyard.message.codec import dumps
from taskyard.worker.remote.wire import Message

if TYPE_CHECKING:
    from taskyard.worker.remote.wire import Wire

logger = logging.getLogger("taskyard.worker")

#: Seconds between heartbeats, as Celery.
HEARTBEAT_SECONDS = 2.0
#: The most events in one message.
_EVENTS_A_MESSAGE = 100
#: The most events that are kept for a wire that is away.
_MOST_KEPT = 1000
#: Seconds that `enable_events` holds while nobody is known to listen; monitors renew it every few seconds.
_LEASE_SECONDS = 60.0

#: Celery's names for what sends: monitors know workers by them.
SOFTWARE = {"sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": platform.system()}


class Eventer:
    """Sends by whatever wire there is; nothing is kept while there is none."""

    def __init__(self, hostname: str, clock: Any, serializer: str, *, enabled: bool) -> None:
        self.hostname = hostname
        self._clock = clock
        self._serializer = serializer
        self._pid = os.getpid()
        self._headers = {"hostname": hostname}
        self._wire: Wire | None = None
        self._batch: list[dict[str, Any]] = []
        self._offset = utcoffset()
        #: By option or setting.
        self._always = enabled
        self._asked_until = 0.0
        self._forbidden = False
        #: Listeners to task events, as far as the wire tells.
        self._listeners = 0
        #: Whether task events are sent now.
        self.flowing = False
        #: Whether they were when the wire was lost, and what is to be told when it is back.
        self.interrupted = False
        self._kept: deque[dict[str, Any]] = deque(maxlen=_MOST_KEPT)
        #: Called when `flowing` changes.
        self.on_flow: Callable[[bool], None] = lambda flowing: None

    # -- who listens
    @property
    def asked(self) -> bool:
        """Whether task events were asked for."""
        return not self._forbidden and (self._always or monotonic() < self._asked_until)

    def enable(self) -> bool:
        """`enable_events`; whether that is news."""
        news = not self.asked
        self._forbidden = False
        self._asked_until = monotonic() + _LEASE_SECONDS
        self._decide()
        return news

    def disable(self) -> bool:
        """`disable_events`; whether that is news."""
        news = self.asked or self.flowing
        self._forbidden = True
        self.interrupted = False
        self._asked_until = 0.0
        self._decide()
        return news

    def listeners(self, count: int) -> None:
        """The wire tells."""
        if count != self._listeners:
            self._listeners = count
            self._decide()

    def probe(self) -> None:
        """Ask the wire whether anybody listens."""
        if self._wire is not None and self._wire.tells_listeners:
            self._wire.probe(self._message([]))

    def _decide(self) -> None:
        wanted = self.asked or self._listeners > 0
        flowing = wanted and self._wire is not None and not self._forbidden
        if flowing != self.flowing:
            self.flowing = flowing
            self._batch.clear()
            if flowing:
                self.interrupted = False
                self._batch.extend(self._kept)
                self._kept.clear()
            self.on_flow(flowing)

    def wire_open(self, wire: Wire) -> None:
        """Send by this wire from now on."""
        self._wire = wire
        self._listeners = 0
        self._decide()
        self.probe()

    def wire_lost(self) -> None:
        """Send nothing."""
        self.interrupted = self.interrupted or self.flowing
        self._wire = None
        self._listeners = 0
        self._decide()

    # -- sending
    def _event(self, type: str, fields: dict[str, Any], at: float | None = None) -> dict[str, Any]:
        return {
            "hostname": self.hostname,
            "utcoffset": self._offset,
            "pid": self._pid,
            "clock": self._clock.forward(),
            **fields,
            "timestamp": time() if at is None else at,
            "type": type,
        }

    def send(self, type: str, **fields: Any) -> None:
        """One event, at once."""
        if self._wire is not None:
            self._wire.publish(type.replace("-", "."), self._message(self._event(type, fields)))

    def task(self, type: str, at: float | None = None, **fields: Any) -> None:
        """A task event, with the others of this turn."""
        self._batch.append(self._event(type, fields, at))

    def task_soon(self, type: str, **fields: Any) -> None:
        """A task event that is not lost with the wire."""
        if self.flowing:
            self.task(type, **fields)
        elif self.interrupted:
            self._kept.append(self._event(type, fields))

    def beat(self) -> None:
        """Time passes: look whether anybody listens."""
        self._offset = utcoffset()
        self._decide()
        self.probe()

    def flush(self) -> None:
        """Send the batch."""
        batch = self._batch
        if batch and self._wire is not None:
            self._batch = []
            for start in range(0, len(batch), _EVENTS_A_MESSAGE):
                if self._wire is None:
                    break
                self._wire.publish("task.multi", self._message(batch[start : start + _EVENTS_A_MESSAGE]))

    def _message(self, content: Any) -> Message:
        body, content_type, content_encoding = dumps(content, self._serializer)
        return Message(body, content_type, content_encoding, self._headers)
