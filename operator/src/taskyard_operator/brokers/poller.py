"""Counts every queue about once a second: one loop and one connection for each broker Secret.

A broker that fails or hangs has its own loop, so it holds up nobody. The loops only remember and tell; what
follows from a number is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from taskyard_operator import metrics
from taskyard_operator.api.names import QueueReason
from taskyard_operator.brokers.address import BrokerCredentials
from taskyard_operator.brokers.base import Broker, BrokerError, QueueWatch
from taskyard_operator.brokers.connect import connect
from taskyard_operator.core.queue import BrokerFailure, QueueDepth, QueueSample

log = logging.getLogger(__name__)

OnSample = Callable[[str, str], None]
"""Told (namespace, task queue) when its sample is worth a look; must not block."""


class SecretReader(Protocol):
    """Reads Secrets by name."""

    async def read(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The decoded data of a Secret, or None if there is none. Any exception means: not known now."""
        ...


@dataclass(frozen=True, slots=True)
class PollerSettings:
    """Times in seconds. `limit` bounds one poll of one broker, whatever hangs."""

    interval: float = 1.0
    longest_backoff: float = 15.0
    secret_interval: float = 30.0
    limit: float = 20.0


@dataclass(frozen=True, slots=True)
class _BrokerRef:
    """A Secret and the key in it: what stands for one broker."""

    namespace: str
    secret: str
    key: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.secret}/{self.key}"


@dataclass(slots=True)
class _Link:
    """One broker's loop and what it knows."""

    ref: _BrokerRef
    queues: dict[tuple[str, str], QueueWatch] = field(default_factory=dict)
    broker: Broker | None = None
    credentials: BrokerCredentials | None = None
    secret_read: float = float("-inf")
    failures: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task[None] | None = None
    closing: bool = False


class Poller:
    """Polls the brokers of all watched TaskQueues; runs from the first :meth:`watch` to :meth:`close`."""

    def __init__(
        self,
        secrets: SecretReader,
        on_sample: OnSample,
        *,
        settings: PollerSettings | None = None,
        connect: Callable[[BrokerCredentials], Broker] = connect,
    ) -> None:
        self._secrets = secrets
        self._on_sample = on_sample
        self._settings = settings or PollerSettings()
        self._connect = connect
        self._links: dict[_BrokerRef, _Link] = {}
        self._refs: dict[tuple[str, str], _BrokerRef] = {}
        self._samples: dict[tuple[str, str], QueueSample] = {}

    def watch(self, namespace: str, task_queue: str, *, secret: str, key: str, queue: QueueWatch) -> None:
        """Poll `queue` for the TaskQueue from now on; the same call again changes nothing."""
        owner, ref = (namespace, task_queue), _BrokerRef(namespace, secret, key)
        if self._refs.get(owner) not in (None, ref):
            self.forget(namespace, task_queue)
        self._refs[owner] = ref
        link = self._link(ref)
        if link.queues.get(owner) != queue:
            if owner in link.queues:
                self._samples.pop(owner, None)  # of another queue
            link.queues[owner] = queue
            link.wake.set()

    def forget(self, namespace: str, task_queue: str) -> None:
        """Poll no more for the TaskQueue; the connection closes when nobody needs it."""
        owner = (namespace, task_queue)
        self._samples.pop(owner, None)
        metrics.forget_queue(namespace, task_queue)
        ref = self._refs.pop(owner, None)
        if ref is not None and (link := self._links.get(ref)) is not None:
            link.queues.pop(owner, None)
            link.wake.set()

    def sample(self, namespace: str, task_queue: str) -> QueueSample | None:
        """The latest poll; None if the queue is not watched or not yet polled."""
        return self._samples.get((namespace, task_queue))

    def poll_soon(self, namespace: str, task_queue: str) -> None:
        """Poll the broker of a watched TaskQueue now, if that is not under way."""
        ref = self._refs.get((namespace, task_queue))
        if ref is not None and (link := self._links.get(ref)) is not None:
            link.wake.set()

    def broker_key(self, namespace: str, task_queue: str) -> str | None:
        """Names the broker of a watched TaskQueue; equal for TaskQueues with the same Secret and key."""
        ref = self._refs.get((namespace, task_queue))
        return str(ref) if ref is not None else None

    async def broker(self, namespace: str, secret: str, key: str) -> Broker:
        """The connection that this Secret's polls use, to declare things on. Raises `BrokerError`."""
        return await self._connected(self._link(_BrokerRef(namespace, secret, key)))

    async def close(self) -> None:
        """End all loops and connections."""
        links, self._links = list(self._links.values()), {}
        tasks = [link.task for link in links if link.task is not None]
        for link in links:
            # A client library may lose a cancellation (asyncio.wait_for does in Python 3.11).
            link.closing = True
            link.wake.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in links:
            await self._disconnect(link)
        self._refs.clear()
        self._samples.clear()

    # -- the loop of one broker

    def _link(self, ref: _BrokerRef) -> _Link:
        link = self._links.get(ref)
        if link is None:
            link = self._links[ref] = _Link(ref)
            link.task = asyncio.create_task(self._run(link), name=f"poll {ref}")
        return link

    async def _run(self, link: _Link) -> None:
        idle_since: float | None = None
        while not link.closing:
            link.wake.clear()
            if link.queues:
                idle_since = None
                began = time.monotonic()
                await self._poll(link)
                pause = self._pause(link) - (time.monotonic() - began)
            else:
                idle_since = idle_since or time.monotonic()
                if time.monotonic() - idle_since > self._settings.secret_interval:
                    break
                pause = self._settings.secret_interval
            if not link.closing:
                await self._sleep(link, max(pause, 0.05))
        if self._links.get(link.ref) is link:
            del self._links[link.ref]
        await self._disconnect(link)

    async def _sleep(self, link: _Link, pause: float) -> None:
        try:
            async with asyncio.timeout(pause):
                await link.wake.wait()
        except TimeoutError:
            return

    def _pause(self, link: _Link) -> float:
        interval = self._settings.interval
        if not link.failures:
            return interval
        backoff = min(interval * 2.0 ** (link.failures - 1), self._settings.longest_backoff)
        return float(backoff * random.uniform(0.8, 1.0))

    async def _poll(self, link: _Link) -> None:
        watched = dict(link.queues)
        try:
            async with asyncio.timeout(self._settings.limit):
                broker = await self._connected(link)
                depths = await broker.depths(list(dict.fromkeys(watched.values())))
        except (BrokerError, TimeoutError) as problem:
            await self._failed(link, problem)
            return
        except Exception as problem:
            # A poll must never end its loop, whatever a broker answers.
            log.exception("poll of %s failed", link.ref)
            await self._failed(link, problem)
            return
        if link.failures:
            log.info("broker of %s answers again", link.ref)
        link.failures = 0
        now = time.time()
        for owner, watch in watched.items():
            if link.queues.get(owner) == watch:
                self._keep(owner, depths[watch.queue], now)

    async def _failed(self, link: _Link, problem: Exception) -> None:
        link.failures += 1
        link.secret_read = float("-inf")  # somebody may have corrected it
        failure = _failure(problem)
        if link.failures == 1:
            log.warning("broker of %s: %s: %s", link.ref, failure.reason, failure.message)
        for owner in link.queues:
            self._keep(owner, failure, time.time())

    def _keep(self, owner: tuple[str, str], outcome: QueueDepth | BrokerFailure, now: float) -> None:
        before = self._samples.get(owner)
        if isinstance(outcome, BrokerFailure):
            metrics.BROKER_FAILURES.inc(*owner)
            failures = (before.failures if before else 0) + 1
            if before is not None and before.depth is not None:
                sample = replace(before, failure=outcome, failures=failures)
            else:
                sample = QueueSample(None, now, outcome, failures)
            worth = True
        else:
            sample = QueueSample(outcome, now)
            _measure(owner, outcome)
            worth = (
                before is None
                or before.failure is not None
                or before.depth != outcome
                or bool(outcome.ready or outcome.unacknowledged)
            )
        self._samples[owner] = sample
        if worth:
            self._on_sample(*owner)

    # -- Secrets and connections

    async def _connected(self, link: _Link) -> Broker:
        """The broker of the Secret as it is now, or was when it was last read."""
        async with link.connecting:
            if time.monotonic() - link.secret_read >= self._settings.secret_interval:
                await self._read_secret(link)
            if link.broker is None:
                if link.credentials is None:
                    raise BrokerError(
                        QueueReason.SECRET_UNREADABLE,
                        f'Secret "{link.ref.secret}" cannot be read now: the API server does not answer, or'
                        " the operator lacks the permission to get Secrets",
                    )
                link.broker = self._connect(link.credentials)
            return link.broker

    async def _read_secret(self, link: _Link) -> None:
        ref = link.ref
        try:
            data = await self._secrets.read(ref.namespace, ref.secret)
        except Exception as problem:
            # What was read before stays good: the API server's trouble is not the broker's.
            log.warning("Secret %s/%s cannot be read: %s", ref.namespace, ref.secret, problem)
            return
        link.secret_read = time.monotonic()
        try:
            if data is None:
                raise BrokerError(
                    QueueReason.SECRET_NOT_FOUND,
                    f'Secret "{ref.secret}" does not exist: create it with the broker URL in key "{ref.key}"',
                )
            credentials = BrokerCredentials.from_secret(data, name=ref.secret, key=ref.key)
        except BrokerError:
            link.secret_read = float("-inf")
            link.credentials = None
            await self._disconnect(link)
            raise
        if credentials != link.credentials:
            link.credentials = credentials
            await self._disconnect(link)

    async def _disconnect(self, link: _Link) -> None:
        broker, link.broker = link.broker, None
        if broker is not None:
            await broker.close()


def _failure(problem: Exception) -> BrokerFailure:
    if isinstance(problem, BrokerError):
        return BrokerFailure(problem.reason, problem.message)
    if isinstance(problem, TimeoutError):
        return BrokerFailure(QueueReason.UNREACHABLE, "the broker did not answer in time: check that it runs")
    return BrokerFailure(
        QueueReason.POLL_FAILED, f"the poll failed ({type(problem).__name__}): see the operator's log"
    )


def _measure(owner: tuple[str, str], depth: QueueDepth) -> None:
    namespace, name = owner
    for state, count in (
        ("ready", depth.ready),
        ("unacknowledged", depth.unacknowledged),
        ("dead", depth.dead),
    ):
        if count is None:
            metrics.QUEUE_MESSAGES.remove(namespace, name, state)
        else:
            metrics.QUEUE_MESSAGES.set(count, namespace, name, state)
    if depth.consumers is not None:
        metrics.QUEUE_CONSUMERS.set(depth.consumers, namespace, name)
