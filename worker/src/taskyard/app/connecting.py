"""Connections of an app for its users; what the app itself sends goes by `client/producer.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taskyard.app.registering import resolve
from taskyard.app.state import AppState

if TYPE_CHECKING:
    from taskyard.client.amqp import AMQP


class Connecting(AppState):
    """kombu connections and producers."""

    _pool: Any = None

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        """A kombu connection to consume on, not yet open."""
        return self._connection(url or self.conf.effective_read_url(), **options)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        """A kombu connection to publish on, not yet open."""
        return self._connection(url or self.conf.effective_write_url(), **options)

    def connection(self, hostname: str | None = None, **options: Any) -> Any:
        """A kombu connection to the broker, or to another URL, not yet open."""
        return self.connection_for_write(hostname, **options)

    broker_connection = connection

    def _connection(
        self,
        url: str,
        transport_options: dict[str, Any] | None = None,
        connect_timeout: float | None = None,
        heartbeat: float | None = None,
        ssl: Any = None,
        login_method: str | None = None,
        **parts: Any,
    ) -> Any:
        from taskyard.broker.connection import connect

        conf = self.conf
        timeout = conf.broker_connection_timeout if connect_timeout is None else connect_timeout
        connection = connect(
            url,
            transport_options={**conf.broker_transport_options, **(transport_options or {})},
            connect_timeout=timeout or 0.0,
            heartbeat=heartbeat or 0.0,
            ssl=conf.broker_use_ssl if ssl is None else ssl,
            login_method=login_method or conf.broker_login_method,
        )
        _choose_failover(connection, parts.pop("failover_strategy", None) or conf.broker_failover_strategy)
        for part in ("userid", "password", "virtual_host", "port"):
            value = parts.pop(part, None)
            if value is not None:
                setattr(connection, part, value)
        if parts:
            raise TypeError(f"a connection has no option {next(iter(parts))!r}")
        return connection

    @property
    def pool(self) -> Any:
        """kombu's pool of `broker_pool_limit` connections."""
        if self._pool is None:
            from kombu.pools import Connections

            self._pool = Connections(limit=self.conf.broker_pool_limit)[self.connection_for_write()]
        return self._pool

    @contextmanager
    def connection_or_acquire(
        self, connection: Any = None, pool: bool = True, **ignored: Any
    ) -> Iterator[Any]:
        """The connection, or one from the pool for the time of the `with` block."""
        if connection is not None:
            yield connection
            return
        with self._acquire(self.pool) if pool else self.connection_for_write() as acquired:
            yield acquired

    default_connection = connection_or_acquire

    def _acquire(self, pool: Any) -> Any:
        from kombu.exceptions import LimitExceeded

        try:
            return pool.acquire(block=True, timeout=self.conf.broker_pool_acquire_timeout)
        except LimitExceeded as error:
            from taskyard.client.unreachable import BrokerUnreachable

            raise BrokerUnreachable(
                f"all {pool.limit} connections of the pool are in use (broker_pool_limit), and none became "
                "free in time (broker_pool_acquire_timeout)"
            ) from error

    @property
    def producer_pool(self) -> Any:
        """kombu's pool of producers on the connections of `pool`."""
        return self.amqp.producer_pool

    @contextmanager
    def producer_or_acquire(self, producer: Any = None) -> Iterator[Any]:
        """The kombu producer, or one from the pool for the time of the `with` block."""
        if producer is not None:
            yield producer
            return
        with self._acquire(self.producer_pool) as acquired:
            yield acquired

    default_producer = producer_or_acquire

    @cached_property
    def amqp(self) -> AMQP:
        """Queues, exchanges, kombu's producers and consumers."""
        app: Any = self
        if app.amqp_cls is not None:
            made: AMQP = resolve(app.amqp_cls)(app)
            return made
        from taskyard.client.amqp import AMQP

        return AMQP(app)

    def select_queues(self, queues: Any = None) -> None:
        """Consume these queues only."""
        self.amqp.queues.select(queues)


def _choose_failover(connection: Any, strategy: Any) -> None:
    """Which of several URLs is next: by the name of one of kombu's ways, or a function."""
    if strategy is None:
        return
    connection.failover_strategy = connection.failover_strategies.get(strategy, strategy)
    if connection.alt and callable(connection.failover_strategy):
        connection.cycle = connection.failover_strategy(connection.alt)
        next(connection.cycle)
