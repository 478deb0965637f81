"""Open connections for publishing, lent to one thread at a time."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from taskyard.broker.addresses import Addresses, addresses_for
from taskyard.broker.connection import connect_as_configured, without_password
from taskyard.errors import BrokerDisconnected, BrokerError

if TYPE_CHECKING:
    from kombu import Connection

    from taskyard.settings import Settings

#: The longest that the end of a process waits for the broker.
_HANG_UP_SECONDS = 5.0


class Line:
    """One open connection with its channel, and what was declared on it."""

    __slots__ = ("channel", "connection", "declared", "url")

    def __init__(self, connection: Connection, url: str) -> None:
        self.connection = connection
        self.channel: Any = connection.channel()
        self.url = url
        self.declared: set[str] = set()

    def declare(self, queue: str | None, entity: Any) -> None:
        """Make sure, once, of a kombu Queue or Exchange (or of the queue that a bare name stands for)."""
        name = queue if queue is not None else f"exchange {entity.name}"
        if name not in self.declared:
            from taskyard.broker.topology import declare

            self.channel = declare(self.connection, self.channel, queue if entity is None else entity)
            self.declared.add(name)

    def broke_with(self, error: BaseException) -> bool:
        """Whether an error means that the connection is gone, so that another one may do better."""
        if isinstance(error, (OSError, BrokerDisconnected)):
            return True
        connection = self.connection
        return isinstance(error, (*connection.recoverable_connection_errors, *connection.connection_errors))

    def hang_up(self) -> None:
        """End the connection when the broker has all that was sent.  A process that just ends may reset it,
        and RabbitMQ forgets what it had not read then.
        """
        with contextlib.suppress(Exception):
            if self.url.startswith(("amqp", "pyamqp")):
                self.connection.connection.transport.sock.settimeout(_HANG_UP_SECONDS)
                self.channel.close()
        self.close()

    def close(self) -> None:
        """End the connection, in whatever state it is."""
        with contextlib.suppress(Exception):
            self.connection.collect()


class Lines:
    """A pool of lines, of broker_pool_limit at most; without a limit each is closed after its use, as in
    Celery.  A fork leaves the parent's lines alone.
    """

    def __init__(self, settings: Settings, *, confirm: bool = False) -> None:
        self._settings = settings
        self._confirm = confirm
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._idle: deque[Line] = deque()
        weakref.finalize(self, _hang_up, self._idle, self._pid)
        self._changed = threading.Condition()
        self._waiting = self._open = 0
        self._addresses: Addresses | None = None

    def take(self) -> Line:
        """A line for this thread alone, until `give_back` or `drop`.

        BrokerDisconnected when no broker can be reached, BrokerError when others keep all lines for longer
        than broker_pool_acquire_timeout.
        """
        if self._pid != os.getpid():
            self._reset()
        try:
            return self._idle.pop()
        except IndexError:
            pass
        limit = self._settings.broker_pool_limit
        with self._changed:
            if limit and self._open >= limit:
                self._wait_for_one(limit)
            with contextlib.suppress(IndexError):
                return self._idle.pop()
            self._open += 1
        try:
            return self._connect()
        except BaseException:
            self._gone()
            raise

    def _wait_for_one(self, limit: int) -> None:
        timeout = self._settings.broker_pool_acquire_timeout
        self._waiting += 1
        try:
            free = self._changed.wait_for(lambda: self._idle or self._open < limit, timeout)
        finally:
            self._waiting -= 1
        if not free:
            raise BrokerError(
                f"all {limit} connections to the broker have been in use for {timeout:g} s: raise "
                "broker_pool_limit or broker_pool_acquire_timeout"
            )

    def _connect(self) -> Line:
        if self._addresses is None:
            self._addresses = addresses_for(self._settings, write=True)
        addresses = self._addresses
        for attempt in range(1, len(addresses) + 1):
            url = addresses.current
            try:
                return self._connect_to(url)
            except Exception as error:
                if not is_unreachable(error):
                    raise
                addresses.failed()
                if attempt == len(addresses):
                    text = f"cannot publish to {without_password(';'.join(addresses.urls))}: {error}"
                    raise BrokerDisconnected(text) from error
        raise AssertionError("there is always an address")

    def _connect_to(self, url: str) -> Line:
        options = {}
        if self._confirm and url.startswith(("amqp", "pyamqp")):
            options["confirm_publish"] = True
        connection = connect_as_configured(self._settings, url, transport_options=options)
        try:
            connection.connect()
            return Line(connection, url)
        except BaseException:
            with contextlib.suppress(Exception):
                connection.collect()
            raise

    def give_back(self, line: Line) -> None:
        """The thread is done with its line."""
        if not self._settings.broker_pool_limit:
            line.hang_up()
            self._gone()
            return
        self._idle.append(line)
        if self._waiting:
            with self._changed:
                self._changed.notify()

    def drop(self, line: Line) -> None:
        """The line is broken."""
        line.close()
        self._gone()

    def _gone(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify()

    def close(self) -> None:
        """Close the lines that nobody uses."""
        if self._pid != os.getpid():
            self._reset()
        while self._idle:
            self._idle.pop().hang_up()
            self._gone()


def _hang_up(idle: deque[Line], pid: int) -> None:
    if pid == os.getpid():  # else they are the parent's
        while idle:
            idle.pop().hang_up()


def is_unreachable(error: BaseException) -> bool:
    """Whether an attempt to connect failed in a way that another broker, or a later attempt, may mend."""
    if isinstance(error, (OSError, BrokerDisconnected)):
        return True
    from kombu.exceptions import OperationalError

    return isinstance(error, OperationalError) or type(error).__module__.startswith(("redis.", "amqp."))
