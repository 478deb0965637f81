"""AMQP to RabbitMQ: exact counts each second on a kept connection, declarations on channels of their own.

py-amqp blocks, so a link has one thread of its own: a broker that hangs holds up nobody else, and the calls
of a link never mix.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import amqp
from amqp import spec

from taskyard_operator.api.names import QueueReason
from taskyard_operator.brokers.address import BrokerAddress
from taskyard_operator.brokers.amqp_failure import explain, reply
from taskyard_operator.brokers.base import BrokerError
from taskyard_operator.core.queue import BrokerFailure
from taskyard_operator.core.queue_plan import Arguments, QueueBinding, QueueDeclaration

log = logging.getLogger(__name__)
T = TypeVar("T")

CONNECT_TIMEOUT = 5.0
CALL_TIMEOUT = 10.0
_HEARTBEAT = 60
_BATCH = 200
"""Passive declarations sent before the first answer is read."""

_LINK_ERRORS = (amqp.AMQPError, OSError, ssl.SSLError, EOFError)


@dataclass(frozen=True, slots=True)
class QueueCount:
    """What a passive declaration answers: messages ready and consumers."""

    ready: int
    consumers: int


class MismatchError(Exception):
    """RabbitMQ has the queue or exchange otherwise (PRECONDITION_FAILED); the text is the broker's."""


class AmqpLink:
    """One connection to one of the addresses of a broker; the next address is tried after a failure.

    Every call may raise :class:`BrokerError`, and then the connection is made anew by the next one.
    """

    def __init__(self, addresses: Sequence[BrokerAddress], origin: str, ca: str | None = None) -> None:
        self._addresses = list(addresses)
        self._origin = origin
        self._ca = ca
        self._connection: Any = None
        self._channel: Any = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"amqp {self._addresses[0].host}")

    @property
    def address(self) -> BrokerAddress:
        """The address that is connected to, or will be."""
        return self._addresses[0]

    @property
    def vhost(self) -> str:
        """The virtual host."""
        return self.address.path or "/"

    async def counts(self, names: Sequence[str]) -> dict[str, QueueCount | BrokerFailure]:
        """Count the queues by passive declarations in one go; a missing queue is a failure of its own."""
        return await self._run(lambda: self._counts(names))

    async def declare_queue(self, queue: QueueDeclaration) -> bool:
        """Make the queue if there is none; whether it was made. `MismatchError` if it differs."""
        return await self._run(lambda: self._declare_queue(queue))

    async def bind(self, queue: str, binding: QueueBinding) -> None:
        """Bind, making the exchange if there is none. `MismatchError` if the exchange differs."""
        await self._run(lambda: self._bind(queue, binding))

    async def delete_queue(self, name: str, *, if_empty: bool) -> None:
        """Delete the queue. `MismatchError` if it is in use or holds messages and `if_empty`."""
        await self._run(lambda: self._delete_queue(name, if_empty=if_empty))

    async def delete_exchange(self, name: str) -> None:
        """Delete the exchange if nothing is bound to it any more."""
        await self._run(lambda: self._delete_exchange(name))

    async def close(self) -> None:
        """Close the connection and end the thread when it is free."""
        self._thread.submit(self._disconnect)
        self._thread.shutdown(wait=False)

    async def _run(self, call: Callable[[], T]) -> T:
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._call, call)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT + CALL_TIMEOUT):
                return await future
        except TimeoutError as problem:
            self._abort()
            raise self._failure(problem) from problem
        except asyncio.CancelledError:
            self._abort()
            raise

    def _abort(self) -> None:
        """Wake the thread out of a blocking read; what it does is lost."""
        transport = getattr(self._connection, "transport", None)
        sock = getattr(transport, "sock", None)
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                log.debug("the connection to %s was closed already", self.address)

    # -- on the link's thread

    def _call(self, call: Callable[[], T]) -> T:
        try:
            if self._connection is None or not self._connection.connected:
                self._connect()
            return call()
        except _LINK_ERRORS as problem:
            if not (isinstance(problem, amqp.AccessRefused) and problem.method_name):
                self._drop()  # not the end of a mere channel
            raise self._failure(problem) from problem

    def _failure(self, problem: BaseException) -> BrokerError:
        failure = explain(problem, self.address, self._origin)
        return BrokerError(failure.reason, failure.message)

    def _connect(self) -> None:
        self._disconnect()
        address = self.address
        connection = amqp.Connection(
            host=f"{address.host or 'localhost'}:{address.port}",
            userid=address.user or "guest",
            password=address.password if address.password is not None else "guest",
            login_method="PLAIN",
            virtual_host=self.vhost,
            ssl=self._tls() if address.scheme == "amqps" else False,
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=CALL_TIMEOUT,
            write_timeout=CALL_TIMEOUT,
            # The poll each second is traffic enough; the broker notices an operator that vanished.
            heartbeat=_HEARTBEAT,
            client_properties={"connection_name": "taskyard-operator"},
        )
        self._connection = connection
        connection.connect()
        self._channel = connection.channel()

    def _tls(self) -> dict[str, Any]:
        if not self.address.verifies:
            return {"cert_reqs": ssl.CERT_NONE}
        context: dict[str, Any] = {"check_hostname": True}
        if self._ca:
            context["cadata"] = self._ca
        return {"context": context, "server_hostname": self.address.host}

    def _drop(self) -> None:
        """Forget a broken connection and turn to the next address."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            connection.collect()
        self._addresses.append(self._addresses.pop(0))

    def _disconnect(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            try:
                connection.close()
            except _LINK_ERRORS:
                connection.collect()

    def _counts(self, names: Sequence[str]) -> dict[str, QueueCount | BrokerFailure]:
        counts: dict[str, QueueCount | BrokerFailure] = {}
        rest = list(names)
        while rest:
            answered = self._count_some(rest[:_BATCH], counts)
            rest = rest[answered:]
        return counts

    def _count_some(self, names: Sequence[str], counts: dict[str, QueueCount | BrokerFailure]) -> int:
        """Count until the first queue that cannot be; how many were answered, it included."""
        channel = self._channel
        for name in names:
            # reserved, queue, passive, durable, exclusive, auto-delete, no-wait, arguments
            arguments = (0, name, True, False, False, False, False, None)
            channel.send_method(spec.Queue.Declare, "BsbbbbbF", arguments)
        for index, name in enumerate(names):
            try:
                _, ready, consumers = channel.wait(
                    spec.Queue.DeclareOk, timeout=CALL_TIMEOUT, returns_tuple=True
                )
            except (amqp.NotFound, amqp.ResourceLocked, amqp.AccessRefused) as problem:
                # The broker closed the channel and dropped the rest; py-amqp opened it again.
                counts[name] = explain(problem, self.address, self._origin)
                return index + 1
            counts[name] = QueueCount(ready, consumers)
        return len(names)

    def _declare_queue(self, queue: QueueDeclaration) -> bool:
        missing = self._is_missing(lambda channel: channel.queue_declare(queue.name, passive=True))
        try:
            self._on_own_channel(
                lambda channel: channel.queue_declare(
                    queue.name, durable=True, auto_delete=False, arguments=_table(queue.arguments)
                )
            )
        except amqp.AccessRefused:
            if missing:
                raise
            log.debug("no permission to compare the queue %s: it is taken as it is", queue.name)
        return missing

    def _bind(self, queue: str, binding: QueueBinding) -> None:
        exchange = binding.exchange
        if self._is_missing(lambda channel: channel.exchange_declare(exchange, "", passive=True)):
            self._declare_exchange(binding)
        else:
            try:
                self._declare_exchange(binding)
            except amqp.AccessRefused:
                log.debug("no permission to compare the exchange %s: it is taken as it is", exchange)
        self._on_own_channel(
            lambda channel: channel.queue_bind(queue, exchange=exchange, routing_key=binding.routing_key)
        )

    def _declare_exchange(self, binding: QueueBinding) -> None:
        self._on_own_channel(
            lambda channel: channel.exchange_declare(
                binding.exchange, binding.exchange_type, durable=True, auto_delete=False
            )
        )

    def _delete_queue(self, name: str, *, if_empty: bool) -> None:
        count = self._counts([name])[name]
        if isinstance(count, BrokerFailure):
            if count.reason == QueueReason.QUEUE_NOT_FOUND:
                return
            raise BrokerError(count.reason, count.message)
        if if_empty and (count.ready or count.consumers):
            raise MismatchError(f"{name} holds {count.ready} messages and has {count.consumers} consumers")
        # No if-empty and if-unused flags: for a quorum queue RabbitMQ closes the connection over them.
        self._on_own_channel(lambda channel: channel.queue_delete(name))

    def _delete_exchange(self, name: str) -> None:
        try:
            self._on_own_channel(lambda channel: channel.exchange_delete(name, if_unused=True))
        except MismatchError:
            log.debug("the exchange %s feeds other queues and stays", name)
        except amqp.NotFound:
            return

    def _is_missing(self, ask: Callable[[Any], object]) -> bool:
        try:
            self._on_own_channel(ask)
        except amqp.NotFound:
            return True
        return False

    def _on_own_channel(self, call: Callable[[Any], object]) -> None:
        """Run a call that may cost the channel its life on one that nobody else needs."""
        channel = self._connection.channel()
        try:
            call(channel)
        except (amqp.PreconditionFailed, amqp.ResourceLocked) as problem:
            raise MismatchError(reply(problem)) from problem
        finally:
            if self._connection is not None and self._connection.connected and channel.is_open:
                channel.close()


def _table(arguments: Arguments) -> dict[str, str | int]:
    return dict(arguments)
