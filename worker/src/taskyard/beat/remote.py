"""BeatPidbox: the scheduler answers `inspect ping`, as long as it ticks.

It is a node as workers are, by the name that beat_nodename gives.  Whatever else is asked of all nodes it
leaves to the workers; and when its scheduler has not ticked for too long it says nothing, so that who asks
(a liveness probe, say) sees that nobody is there.
"""

from __future__ import annotations

import contextlib
import logging
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from kombu import pidbox

from taskyard.utils.nodenames import default_nodename, host_format

if TYPE_CHECKING:
    from taskyard.beat.service import Service

logger = logging.getLogger("taskyard.beat")

NODENAME_DEFAULT = "celerybeat"
#: Seconds between two looks whether to stop.
_LOOK_SECONDS = 0.25
#: Seconds that its thread gets to end.
_END_SECONDS = 3.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0


def beat_nodename(hostname: str | None = None) -> str:
    """The scheduler's node name for what a user gave: nothing, a host, or `name@host`, with %h, %n and %d."""
    return host_format(default_nodename(hostname, NODENAME_DEFAULT))


class _Node(pidbox.Node):  # type: ignore[misc]
    """Says nothing while the scheduler is stuck."""

    box: BeatPidbox

    def dispatch(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Answer a request that is meant for this node."""
        if self.box.is_stale():
            logger.warning(
                "%s is not answered: the scheduler's last tick was %.1f s ago (the limit is %g s)",
                method, self.box.service.tick_age(), self.box.max_tick_age,
            )  # fmt: skip
            return None
        return super().dispatch(method, *arguments, **options)


class BeatPidbox:
    """A thread with a connection of its own."""

    #: The shortest limit that follows from the scheduler's interval, seconds: one slow tick is no stall.
    min_tick_age = 60.0

    def __init__(self, service: Service) -> None:
        self.service = service
        self.app = service.app
        self.hostname = beat_nodename(service.hostname)
        self.thread: Thread | None = None
        self._stopping = Event()
        configured = self.app.conf.beat_remote_control_max_tick_age
        interval = service.scheduler.max_interval
        #: Seconds after which a scheduler that has not ticked counts as stuck; 0: never.
        self.max_tick_age: float = max(interval * 2, self.min_tick_age) if configured is None else configured

    def is_stale(self) -> bool:
        """Whether the scheduler is stuck."""
        age = self.service.tick_age()
        return bool(self.max_tick_age) and age is not None and age > self.max_tick_age

    def start(self) -> None:
        """Answer from now on."""
        connection = self.app.connection_for_read()
        if not connection.supports_exchange_type("fanout"):
            logger.warning("This broker has no broadcasts: the scheduler answers no remote control")
            return
        self._stopping.clear()
        self.thread = Thread(target=self._run, name="BeatPidbox", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._stopping.set()
        if self.thread is not None:
            self.thread.join(_END_SECONDS)  # one that waits for a broker ends with the process
            self.thread = None

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                with self.app.connection_for_read() as connection:
                    connection.connect()
                    pause = 0.0
                    self._answer_over(connection)
            except Exception as error:
                if not self.app.conf.broker_connection_retry:
                    logger.error("The scheduler answers no remote control: %s", error)
                    return
                pause = min(max(pause * 2, _SHORTEST_PAUSE), _LONGEST_PAUSE)
                if not self._stopping.is_set():
                    logger.warning(
                        "Remote control is not connected (%s): trying again in %.1f s", error, pause
                    )

    def _answer_over(self, connection: Any) -> None:
        handlers = {"ping": lambda state, **ignored: {"ok": "pong"}}
        mailbox = self.app.control.mailbox(connection)
        node = _Node(self.hostname, None, connection.channel(), handlers, mailbox)
        node.box = self

        def on_message(body: Any, message: Any) -> None:
            if isinstance(body, dict) and body.get("method") in handlers:
                node.handle_message(body, message)

        consumer = node.listen(callback=on_message)
        try:
            while not self._stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=_LOOK_SECONDS)
        finally:
            with contextlib.suppress(Exception):
                consumer.cancel()
