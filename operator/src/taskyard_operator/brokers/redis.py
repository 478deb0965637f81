"""Redis as kombu uses it: counted by one script, nothing to declare but the binding that tools look for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import redis.asyncio as aioredis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff

from taskyard_operator.api.names import QueueReason
from taskyard_operator.brokers import redis_script as script
from taskyard_operator.brokers.address import BrokerAddress, BrokerCredentials, parse_addresses
from taskyard_operator.brokers.base import BrokerError, QueueWatch
from taskyard_operator.core.queue import BrokerFailure, QueueDepth
from taskyard_operator.core.queue_plan import BrokerFamily, EnsureResult, QueuePlan, RemovalResult

log = logging.getLogger(__name__)

SCHEMES: Mapping[str, int | None] = {"redis": 6379, "rediss": 6379, "sentinel": 26379}

_TIMEOUT = 5.0
_MASTER = "mymaster"
"""The service name in every Sentinel example."""


class Redis:
    """One Redis database (see :class:`taskyard_operator.brokers.base.Broker`)."""

    family = BrokerFamily.REDIS

    def __init__(self, credentials: BrokerCredentials) -> None:
        self._addresses = parse_addresses(credentials, SCHEMES)
        self._credentials = credentials
        self._prefix = credentials.key_prefix
        first = self._addresses[0]
        self._database = _database(first, credentials.origin)
        self.identity = f"redis://{first.host or 'localhost'}:{first.port}/{self._database}"
        self._client: Any = None

    async def depths(self, queues: Sequence[QueueWatch]) -> Mapping[str, QueueDepth | BrokerFailure]:
        """See :class:`.Broker`."""
        if not queues:
            return {}
        keys = [self._key(script.UNACKED)]
        for watch in queues:
            keys += self._lists(watch.queue) + self._lists(watch.dead or watch.queue)
            keys.append(self._key(script.SCHEDULE + watch.queue))
        routing_keys = sorted({key for watch in queues for key in _routing_keys(watch)})
        arguments = [len(queues), script.MOST_ENTRIES, script.MOST_BYTES, *routing_keys]
        async with _Calls(self) as client:
            answer = await client.eval(script.COUNT, len(keys), *keys, *arguments)
        in_flight = dict(zip(routing_keys, answer[2 * len(queues) :], strict=True))
        return {
            watch.queue: self._depth(watch, answer[2 * index], answer[2 * index + 1], in_flight)
            for index, watch in enumerate(queues)
        }

    async def ensure(self, plan: QueuePlan) -> EnsureResult:
        """See :class:`.Broker`."""
        queues = [plan.queue.name] + ([plan.dead.name] if plan.dead is not None else [])
        keys = [(name, key) for name in queues for key in self._lists(name)]
        async with _Calls(self) as client:
            async with client.pipeline(transaction=False) as pipe:
                for _, key in keys:
                    pipe.type(key)
                types = await pipe.execute()
            drift = [
                f"key {key!r} of queue {name} holds a {_plain(kind)}, not the list of a queue: remove it, or"
                " choose another queueName"
                for (name, key), kind in zip(keys, types, strict=True)
                if _plain(kind) not in ("none", "list")
            ]
            if drift:
                return EnsureResult(drift=tuple(drift), foreign=True, limits=plan.limits)
            created = False
            async with client.pipeline(transaction=True) as pipe:
                for key, member in self._bindings(plan):
                    pipe.sadd(key, member)
                created = any(await pipe.execute())
        return EnsureResult(created=created, limits=plan.limits)

    async def remove(self, plan: QueuePlan, *, queue: bool, if_empty: bool = True) -> RemovalResult:
        """See :class:`.Broker`."""
        if not queue:
            return RemovalResult()
        dead = plan.dead.name if plan.dead is not None else None
        schedule = self._key(script.SCHEDULE + plan.queue.name)
        if if_empty:
            watch = QueueWatch(plan.queue.name, dead, tuple(item.routing_key for item in plan.bindings))
            depth = (await self.depths([watch]))[plan.queue.name]
            async with _Calls(self) as client:
                scheduled = await client.zcard(schedule)
            if blocked := _blocked(plan.queue.name, depth, scheduled):
                return RemovalResult(blocked)
        async with _Calls(self) as client, client.pipeline(transaction=True) as pipe:
            for name in [plan.queue.name] + ([dead] if dead else []):
                pipe.delete(*self._lists(name))
            pipe.delete(schedule)
            for key, member in self._bindings(plan):
                pipe.srem(key, member)
            await pipe.execute()
        return RemovalResult()

    async def close(self) -> None:
        """See :class:`.Broker`."""
        client, self._client = self._client, None
        if client is not None:
            try:
                await client.aclose()
            except (exceptions.RedisError, OSError):
                log.debug("the connection to %s was broken already", self._addresses[0])

    # -- keys

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _lists(self, queue: str) -> list[str]:
        return [self._key(queue + suffix) for suffix in script.PRIORITY_SUFFIXES]

    def _bindings(self, plan: QueuePlan) -> list[tuple[str, str]]:
        """Binding tables, each with our member: routing key, pattern and queue as kombu joins them."""
        entries = []
        for item in plan.bindings:
            member = script.BINDING_SEPARATOR.join((item.routing_key, "", plan.queue.name))
            entries.append((self._key(script.BINDINGS + item.exchange), member))
            entries.append((self._key(script.PERMANENT_BINDINGS + item.exchange), member))
        return entries

    def _depth(
        self, watch: QueueWatch, ready: int, dead: int, in_flight: Mapping[str, int]
    ) -> QueueDepth | BrokerFailure:
        if ready < 0:
            return BrokerFailure(
                QueueReason.NOT_A_QUEUE,
                f"key {self._key(watch.queue)!r} on Redis is not the list of a queue: remove it, or choose"
                " another queueName",
            )
        return QueueDepth(
            ready=ready,
            unacknowledged=sum(in_flight[key] for key in _routing_keys(watch)),
            dead=dead if watch.dead and dead >= 0 else None,
            oldest_age=None if ready else 0.0,
        )

    # -- the connection

    def connected(self) -> Any:
        """The client; it connects at its first command."""
        if self._client is None:
            self._client = self._connect(self._addresses[0])
        return self._client

    async def failed(self, problem: BaseException) -> BrokerError:
        """Drop the connection, turn to the next address, and say what `problem` means."""
        failure = _explain(problem, self._addresses[0], self._credentials.origin)
        await self.close()
        self._addresses.append(self._addresses.pop(0))
        return failure

    def _connect(self, address: BrokerAddress) -> Any:
        options: dict[str, Any] = {
            "db": self._database,
            "username": address.user,
            "password": address.password,
            "socket_timeout": _TIMEOUT,
            "socket_connect_timeout": _TIMEOUT,
            "retry": Retry(NoBackoff(), 0),
            "client_name": "taskyard-operator",
        }
        if address.scheme == "rediss":
            options |= {
                "ssl": True,
                "ssl_ca_data": self._credentials.ca,
                "ssl_cert_reqs": "required" if address.verifies else "none",
                "ssl_check_hostname": address.verifies,
            }
        if address.scheme == "sentinel":
            sentinels = [(item.host or "localhost", item.port) for item in self._addresses]
            make: Any = Sentinel  # redis-py leaves its types out
            watched = make(sentinels, sentinel_kwargs={"socket_timeout": _TIMEOUT}, **options)
            return watched.master_for(self._credentials.master_name or _MASTER)
        return aioredis.Redis(host=address.host or "localhost", port=address.port or 6379, **options)


class _Calls:
    """Commands on the connection, whose errors become a `BrokerError` and end the connection."""

    def __init__(self, broker: Redis) -> None:
        self._broker = broker

    async def __aenter__(self) -> Any:
        return self._broker.connected()

    async def __aexit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if isinstance(problem, exceptions.RedisError | OSError | TimeoutError):
            raise await self._broker.failed(problem) from problem


def _routing_keys(watch: QueueWatch) -> tuple[str, ...]:
    return tuple(dict.fromkeys((watch.queue, *watch.routing_keys)))


def _blocked(queue: str, depth: QueueDepth | BrokerFailure, scheduled: int) -> str | None:
    if isinstance(depth, BrokerFailure):
        return depth.message
    parts = [
        f"{count} {what}"
        for count, what in (
            (depth.ready, "ready"),
            (depth.unacknowledged or 0, "held by workers"),
            (scheduled, "scheduled"),
            (depth.dead or 0, "dead"),
        )
        if count
    ]
    return f"{queue} has messages: {', '.join(parts)}" if parts else None


def _database(address: BrokerAddress, origin: str) -> int:
    path = address.path.strip("/") or "0"
    if not path.isdecimal():
        raise BrokerError(
            QueueReason.INVALID_URL,
            f"{origin} must end with the number of a Redis database, such as redis://host:6379/0",
        )
    return int(path)


def _explain(problem: BaseException, address: BrokerAddress, origin: str) -> BrokerError:
    text = " ".join(str(problem).split())
    if isinstance(problem, exceptions.AuthenticationError) or text.startswith(("WRONGPASS", "NOAUTH")):
        user = f" of user {address.user!r}" if address.user else ""
        return BrokerError(
            QueueReason.AUTHENTICATION_FAILED, f"Redis refused the password{user}: correct {origin}"
        )
    if isinstance(problem, exceptions.NoPermissionError):
        return BrokerError(
            QueueReason.ACCESS_DENIED,
            f"Redis refuses user {address.user or 'default'!r} a command ({text[:200]}): allow it eval, llen,"
            " zcount, hscan, hlen, time, type, sadd, srem, zcard and del on all keys",
        )
    if isinstance(problem, exceptions.BusyLoadingError):
        return BrokerError(
            QueueReason.UNREACHABLE, f"{address} is loading its data: it will answer when it is done"
        )
    if isinstance(problem, exceptions.ResponseError):
        return BrokerError(QueueReason.REQUEST_REFUSED, f"{address} refused a command: {text[:300]}")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return BrokerError(
            QueueReason.INVALID_CERTIFICATE,
            f"the certificate of {address} is not trusted: put its authority's certificate into key ca.crt of"
            " the Secret",
        )
    if isinstance(problem, MasterNotFoundError):
        return BrokerError(
            QueueReason.UNREACHABLE,
            f"{address}: Sentinel names no master ({text[:200]}): check key master-name of the broker Secret"
            f" ({_MASTER} without it), and that the master runs",
        )
    if isinstance(problem, exceptions.TimeoutError | TimeoutError):
        text = "no answer in time"
    return BrokerError(
        QueueReason.UNREACHABLE,
        f"{address} cannot be reached ({text[:300]}): check that the broker runs, and the host and port in"
        " its Secret",
    )


def _plain(kind: bytes | str) -> str:
    return kind.decode() if isinstance(kind, bytes) else kind
