"""SQLite as a broker: a file that many processes of one machine share, durable and without a server.

URLs: ``sqlite:////absolute/path.db`` and ``sqlite:///relative/path.db``. It works through plain kombu:
``Connection("sqlite:///tasks.db", transport="taskyard.broker.sqlite:Transport")``.
"""

from time import monotonic, sleep
from typing import Any, ClassVar

from kombu.exceptions import OperationalError
from kombu.transport import virtual
from kombu.utils.eventio import ERR, READ, poll

from taskyard.broker.alarm import Alarm
from taskyard.broker.leases import LeaseRules
from taskyard.broker.qos import Held
from taskyard.broker.sqlite_channel import Channel
from taskyard.broker.sqlite_session import Session
from taskyard.broker.sqlite_store import DatabaseBusyError, Store, UnusableDatabaseError
from taskyard.broker.sqlite_wake import Bell, Ringing

__all__ = ["Channel", "DatabaseBusyError", "Transport", "UnusableDatabaseError"]

ROUNDS_A_TURN = 4
"""Times that one turn of a loop takes and hands over before the loop's other work gets its turn."""

PATIENCE = 1.0


class Transport(virtual.Transport):  # type: ignore[misc]
    """SQLite as a broker; a message is one row from publishing to acknowledgement.

    Priorities are as on Redis: 0 goes first. Transport options: ``lease_seconds`` (30), ``worker_id``,
    ``dead_letters`` and ``still_running`` mean what they mean for the Redis transport, ``busy_seconds`` (10)
    is how long to wait for a lock that another process holds.
    """

    Channel = Channel
    driver_type = "sqlite"
    driver_name = "sqlite3"
    polling_interval = None
    connection_errors = (*virtual.Transport.connection_errors, DatabaseBusyError)
    channel_errors = virtual.Transport.channel_errors
    #: A file has no host: kombu warns of a missing one unless it is told that there is no default.
    default_connection_params: ClassVar[dict[str, Any]] = {}
    implements = virtual.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset(["direct", "topic", "fanout"])
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.loop: Any = None
        self.adopted: dict[str, Held] = {}
        self._session: Session | None = None
        self._alarm: Alarm | None = None
        self._readers: set[int] = set()
        self._turning = False
        self._consumers: list[Any] = []

    def driver_version(self) -> str:
        """SQLite's version."""
        import sqlite3

        return sqlite3.sqlite_version

    # -- session

    @property
    def session(self) -> Session:
        """The session, opened when it is first needed."""
        if self._session is None or self._session.closed:
            options = self.client.transport_options
            rules = LeaseRules.of(options)
            store, bell = self.open_store()
            self._session = Session(store, bell, rules, worker_id=options.get("worker_id"))
        return self._session

    def open_store(self) -> tuple[Store, Ringing]:
        """The file that the URL names, and what wakes its consumers."""
        path = self.client.virtual_host
        if not path or path == "/":
            raise OperationalError(
                "the broker URL names no file: sqlite:////absolute/path.db or sqlite:///relative/path.db"
            )
        busy_seconds = float(self.client.transport_options.get("busy_seconds") or 10)
        store = Store(path, busy_seconds=busy_seconds)
        return store, Bell(store.path)

    def consuming(self, channel: Any) -> None:
        """A channel consumes one queue more."""
        self.take_over(channel)
        self.session.listen(queue for each in self._consumers for queue in each._receivers)

    def take_over(self, channel: Any) -> None:
        """Make the channel responsible for what an earlier session of this process has left."""
        if channel in self._consumers:
            return
        self._consumers.append(channel)
        still_running = self.client.transport_options.get("still_running")
        for row in self.session.succeed(still_running() if still_running is not None else ()):
            self.adopted[str(row.id)] = Held(row.queue, row.envelope)
            channel.qos._delivered[str(row.id)] = self.adopted[str(row.id)]

    def release(self, channel: Any) -> None:
        """A channel closed; with the last one the session ends."""
        if channel in self._consumers:
            self._consumers.remove(channel)
        session = self._session
        if session is None or session.closed or any(each is not channel for each in self.channels):
            return
        try:
            if not session.usable:
                return
            if channel.do_restore:
                session.leave()
            else:
                session.abandon()
        finally:
            self._forget_readers()
            if session.usable:
                session.close()

    # -- turning

    @property
    def in_turn(self) -> bool:
        """Whether settlements are written soon anyway: in a loop, or while messages are handed over."""
        return self.loop is not None or self._turning

    def turn(self, rounds: int = ROUNDS_A_TURN) -> int:
        """Settle, take and hand over; returns how many messages were handed over."""
        session = self._session
        if session is None or not session.usable:
            return 0
        self._turning = True
        delivered = 0
        try:
            for _ in range(rounds):
                session.turn(self._consumers, monotonic())
                handed = sum(channel.deliver() for channel in list(self._consumers))
                delivered += handed
                if not handed or session.closed:
                    break
        finally:
            self._turning = False
            if session.usable and session.unsettled:
                session.flush()
        return delivered

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Hand over what comes; raises ``socket.timeout`` after ``timeout`` seconds without a message."""
        deadline = None if timeout is None else monotonic() + timeout
        while not self.turn(rounds=1):
            now = monotonic()
            if deadline is not None and now >= deadline:
                raise TimeoutError
            until = min(self.session.next_at, now + PATIENCE if deadline is None else deadline)
            self._wait(max(0.0, until - now))

    def _wait(self, seconds: float) -> None:
        bell = self.session.bell.fileno()
        if bell is None:
            sleep(seconds)
            return
        poller = poll()
        try:
            poller.register(bell, READ | ERR)
            if poller.poll(seconds):
                self._heard()
        finally:
            poller.close()

    def _heard(self) -> None:
        self.session.bell.hear()
        for channel in self._consumers:
            channel.woken()

    # -- event loop

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let a loop with kombu's hub interface drive the channels (``on_tick``, readers)."""
        self._forget_readers()
        self.loop = loop
        self._alarm = Alarm()
        loop.on_tick.add(self._tick)
        self._read(self._alarm.fd, self._alarm.heard)

    def unregister_from_event_loop(self, connection: Any, loop: Any) -> None:
        """Leave the loop."""
        self._forget_readers()

    def _tick(self) -> None:
        delivered = self.turn()
        session = self._session
        if session is None or session.closed or self._alarm is None:
            return
        bell = session.bell.fileno()
        if bell is not None and bell not in self._readers:
            self._read(bell, self._heard)
        self._alarm.set(0.0 if delivered else session.next_at)

    def _read(self, fd: int, handler: Any) -> None:
        self._readers.add(fd)
        self.loop.add_reader(fd, handler)

    def _forget_readers(self) -> None:
        loop, self.loop = self.loop, None
        if loop is None:
            return
        loop.on_tick.discard(self._tick)
        for fd in self._readers:
            loop.remove_reader(fd)
        self._readers.clear()
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None

    def establish_connection(self) -> Any:
        """Open the file, which is all there is to connect to."""
        assert self.session is not None
        return super().establish_connection()

    def verify_connection(self, connection: Any) -> bool:
        """Whether the file is open."""
        return self._session is not None and self._session.usable
