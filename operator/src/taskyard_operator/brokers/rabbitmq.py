"""RabbitMQ: AMQP for what must be exact or must work everywhere, the management API for the rest."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

from taskyard_operator.api.names import QueueReason
from taskyard_operator.brokers.address import BrokerCredentials, parse_addresses
from taskyard_operator.brokers.amqp_link import AmqpLink, MismatchError, QueueCount
from taskyard_operator.brokers.base import BrokerError, QueueWatch
from taskyard_operator.brokers.management import Management, ManagementError, QueueStatistics
from taskyard_operator.brokers.policies import apply_policies, remove_policies
from taskyard_operator.core.queue import BrokerFailure, QueueDepth
from taskyard_operator.core.queue_drift import Difference, drift_sentence, from_arguments, from_refusal
from taskyard_operator.core.queue_plan import (
    BrokerFamily,
    EnsureResult,
    Limit,
    QueueDeclaration,
    QueuePlan,
    RemovalResult,
    policy_limit,
)

log = logging.getLogger(__name__)

SCHEMES: Mapping[str, int | None] = {"amqp": 5672, "pyamqp": 5672, "amqps": 5671}

STATISTICS_INTERVAL = 5.0
"""Seconds between two looks at the management API, whose numbers change no faster."""

STATISTICS_KEPT = 20.0
"""Seconds for which its latest numbers count when it does not answer; then they are unknown."""

_NO_MANAGEMENT = (
    "Enable RabbitMQ's management plugin and, where it is not at port 15672 of the broker's host, put its URL"
    " into key management-url of the broker Secret"
)
_NOT_POLICYMAKER = "Give the user the tag policymaker (rabbitmqctl set_user_tags)"


class RabbitMQ:
    """A RabbitMQ virtual host (see :class:`taskyard_operator.brokers.base.Broker`)."""

    family = BrokerFamily.RABBITMQ

    def __init__(
        self, credentials: BrokerCredentials, *, statistics_interval: float = STATISTICS_INTERVAL
    ) -> None:
        addresses = parse_addresses(credentials, SCHEMES)
        self._link = AmqpLink(addresses, credentials.origin, credentials.ca)
        self._management = Management(credentials, addresses[0])
        first = addresses[0]
        self.identity = f"rabbitmq://{first.host or 'localhost'}:{first.port}/{first.path or '/'}"
        self._interval = statistics_interval
        self._statistics: dict[str, QueueStatistics] = {}
        self._statistics_at = float("-inf")
        self._asked_at = float("-inf")
        self._asked_for: frozenset[str] = frozenset()
        self._complaint: str | None = None
        self._refresh: asyncio.Task[None] | None = None

    async def depths(self, queues: Sequence[QueueWatch]) -> Mapping[str, QueueDepth | BrokerFailure]:
        """See :class:`.Broker`."""
        names = {watch.queue for watch in queues} | {watch.dead for watch in queues if watch.dead}
        counts = await self._link.counts(sorted(names))
        self._refresh_statistics(frozenset(watch.queue for watch in queues))
        return {watch.queue: self._depth(watch, counts) for watch in queues}

    async def ensure(self, plan: QueuePlan) -> EnsureResult:
        """See :class:`.Broker`."""
        created, differences = await self._declare(plan.queue)
        drift = [drift_sentence(differences)] if differences else []
        if any(item.foreign for item in differences):
            return EnsureResult(drift=tuple(drift), foreign=True, limits=plan.limits)
        for binding in plan.bindings:
            try:
                await self._link.bind(plan.queue.name, binding)
            except MismatchError as problem:
                drift.append(f"binding not made, {problem}: name another exchange, or correct exchangeType")
        if plan.dead is not None:
            await self._declare(plan.dead)  # an existing one is good as it is
        return EnsureResult(created, tuple(drift), limits=plan.limits + await self._apply_policies(plan))

    async def remove(self, plan: QueuePlan, *, queue: bool, if_empty: bool = True) -> RemovalResult:
        """See :class:`.Broker`."""
        names = [plan.queue.name] + ([plan.dead.name] if plan.dead is not None else [])
        if queue and if_empty and (blocked := await self._blocked(names)):
            return RemovalResult(blocked)
        if queue:
            for name in names:
                try:
                    await self._link.delete_queue(name, if_empty=if_empty)
                except MismatchError as problem:
                    return RemovalResult(str(problem))
            await self._link.delete_exchange(plan.bindings[0].exchange)
        try:
            await remove_policies(self._management, plan.policy_names)
        except ManagementError as problem:
            if problem.status:
                raise BrokerError(QueueReason.ACCESS_DENIED, f"{problem}. {_NOT_POLICYMAKER}") from problem
            # Without the API there were none to make, or they are in nobody's reach.
            log.info("policies of %s were not looked at: %s", plan.queue.name, problem)
        return RemovalResult()

    async def close(self) -> None:
        """See :class:`.Broker`."""
        if self._refresh is not None:
            self._refresh.cancel()
        await self._link.close()
        await self._management.close()

    # -- counting

    def _depth(
        self, watch: QueueWatch, counts: Mapping[str, QueueCount | BrokerFailure]
    ) -> QueueDepth | BrokerFailure:
        count = counts[watch.queue]
        if isinstance(count, BrokerFailure):
            return count
        dead = counts[watch.dead] if watch.dead else None
        more = self._statistics.get(watch.queue)
        return QueueDepth(
            ready=count.ready,
            unacknowledged=more.unacknowledged if more else None,
            dead=dead.ready if isinstance(dead, QueueCount) else None,
            consumers=count.consumers,
            publish_rate=more.publish_rate if more else None,
            deliver_rate=more.deliver_rate if more else None,
            oldest_age=0.0 if not count.ready else more.oldest_age if more else None,
        )

    def _refresh_statistics(self, names: frozenset[str]) -> None:
        """Look at the management API beside the poll, which does not wait for it."""
        now = time.monotonic()
        if now - self._asked_at < self._interval and names <= self._asked_for:
            return
        if self._refresh is None or self._refresh.done():
            self._asked_at, self._asked_for = now, names
            self._refresh = asyncio.create_task(self._read_statistics(sorted(names)))

    async def _read_statistics(self, names: Sequence[str]) -> None:
        try:
            self._statistics = await self._management.statistics(names)
            self._statistics_at, self._complaint = time.monotonic(), None
        except ManagementError as problem:
            if str(problem) != self._complaint:
                self._complaint = str(problem)
                log.info("no rates and unacknowledged counts: %s", problem)
            if time.monotonic() - self._statistics_at > STATISTICS_KEPT:
                self._statistics = {}

    # -- declaring

    async def _declare(self, queue: QueueDeclaration) -> tuple[bool, list[Difference]]:
        """Declare; whether the queue was made, and how an existing one differs."""
        try:
            return await self._link.declare_queue(queue), []
        except MismatchError as problem:
            try:
                found = await self._management.queue(queue.name)
            except ManagementError:
                found = None
            named = from_refusal(queue.name, str(problem))
            differences = from_arguments(queue, found) if found else []
            if not differences and named is None:
                raise BrokerError(
                    QueueReason.DECLARE_FAILED, f"RabbitMQ refuses the queue: {problem}"
                ) from problem
            return False, differences or [named] if named else differences

    async def _apply_policies(self, plan: QueuePlan) -> tuple[Limit, ...]:
        queue_type = str(plan.queue.arguments.get("x-queue-type", "classic"))
        try:
            return await apply_policies(self._management, plan.policies, plan.policy_names, queue_type)
        except ManagementError as problem:
            if not plan.policies:
                return ()
            remedy = _NOT_POLICYMAKER if problem.status in (401, 403) else _NO_MANAGEMENT
            return (policy_limit(plan.policies, str(problem), remedy),)

    async def _blocked(self, names: Sequence[str]) -> str | None:
        counts = await self._link.counts(names)
        for name in names:
            count = counts[name]
            if isinstance(count, BrokerFailure):
                if count.reason != QueueReason.QUEUE_NOT_FOUND:
                    raise BrokerError(count.reason, count.message)
            elif count.ready or count.consumers:
                return f"{name} holds {count.ready} messages and has {count.consumers} consumers"
        return None
