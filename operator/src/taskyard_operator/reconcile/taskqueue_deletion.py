"""The end of a TaskQueue: its queue at the broker goes as its deletionPolicy says, and never by mistake.

A queue is only deleted when no other TaskQueue names it, and with the policy Delete only when it is empty
and nobody consumes from it. While the broker cannot be asked the TaskQueue stays, with a condition, until it
can, or until somebody sets the annotation `taskyard.io/abandon-broker-queue: "true"`. Where the Secret is
gone too (a namespace that is being deleted) there is nothing to wait for: the queue stays at the broker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from taskyard_operator.api.names import ANNOTATION_ABANDON_QUEUE, QueueReason
from taskyard_operator.api.taskqueue import DeletionPolicy, TaskQueue
from taskyard_operator.brokers.base import BrokerError
from taskyard_operator.brokers.poller import Poller
from taskyard_operator.core.queue_plan import Limit, QueuePlan, plan_queue
from taskyard_operator.kube.errors import Forbidden
from taskyard_operator.kube.resources import TASK_QUEUES
from taskyard_operator.reconcile.taskqueue_api import KubeApi

log = logging.getLogger(__name__)

BROKER_LIMIT = 15.0
"""Seconds for one attempt."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What came of an attempt: done, or why it waits. `kept` says what was left at the broker."""

    waits: Limit | None = None
    kept: str | None = None


class BrokerQueueRemover:
    """Removes the broker's side of TaskQueues."""

    def __init__(self, kube: KubeApi, poller: Poller, namespaces: Sequence[str]) -> None:
        self._kube = kube
        self._poller = poller
        self._namespaces = tuple(namespaces) or ("",)

    async def remove(self, queue: TaskQueue) -> Removal:
        """Remove what the deletionPolicy says."""
        if queue.metadata.annotations.get(ANNOTATION_ABANDON_QUEUE) == "true":
            return Removal(
                kept=f"queue {queue.queue_name} stays at the broker: {ANNOTATION_ABANDON_QUEUE} is set"
            )
        ref = queue.secret_ref
        try:
            async with asyncio.timeout(BROKER_LIMIT):
                broker = await self._poller.broker(queue.metadata.namespace, ref.name, ref.key)
                plan = plan_queue(queue.spec, queue.metadata.name, broker.family)
                shared = await self._shared(queue, broker.identity)
                if plan.queue.name in shared:
                    other = shared[plan.queue.name]
                    return Removal(kept=f"queue {plan.queue.name} stays at the broker: {other} names it")
                if plan.dead is not None and plan.dead.name in shared:
                    plan = replace(plan, dead=None)
                result = await broker.remove(
                    plan,
                    queue=queue.spec.needs_finalizer,
                    if_empty=queue.spec.deletion_policy is not DeletionPolicy.PURGE,
                )
        except (BrokerError, TimeoutError) as problem:
            return self._failed(queue, problem)
        if result.blocked is not None:
            return Removal(
                Limit(
                    QueueReason.BLOCKED,
                    f"{result.blocked}, and deletionPolicy is Delete: let the messages be worked off, stop"
                    " the consumers, or set deletionPolicy to Purge (messages are lost) or Retain",
                )
            )
        return Removal()

    async def drop_policies(self, namespace: str, secret: str, key: str, plan: QueuePlan) -> None:
        """A TaskQueue with the policy Retain is gone: its policies go, if the broker can be reached now."""
        try:
            async with asyncio.timeout(BROKER_LIMIT):
                broker = await self._poller.broker(namespace, secret, key)
                await broker.remove(plan, queue=False)
        except (BrokerError, TimeoutError) as problem:
            log.warning("policies of queue %s stay at the broker: %s", plan.queue.name, problem)

    def _failed(self, queue: TaskQueue, problem: BrokerError | TimeoutError) -> Removal:
        reason = problem.reason if isinstance(problem, BrokerError) else QueueReason.UNREACHABLE
        if reason == QueueReason.SECRET_NOT_FOUND:
            return Removal(kept=f"queue {queue.queue_name} stays at the broker: {problem}")
        words = str(problem) or "the broker did not answer in time"
        return Removal(
            Limit(
                reason,
                f"queue {queue.queue_name} cannot be removed: {words}. Annotate the TaskQueue with"
                f' {ANNOTATION_ABANDON_QUEUE}="true" to let it go and keep the queue',
            )
        )

    async def _shared(self, queue: TaskQueue, identity: str) -> dict[str, str]:
        """Who else names the queue or its dead-letter queue at the same broker, by queue."""
        mine = {queue.queue_name, queue.dead_queue_name} - {None}
        shared: dict[str, str] = {}
        for other in await self._others(queue):
            for name in {other.queue_name, other.dead_queue_name} & mine:
                if name is not None and await self._same_broker(other, identity):
                    shared[name] = f"TaskQueue {other.metadata.namespace}/{other.metadata.name}"
        return shared

    async def _others(self, queue: TaskQueue) -> list[TaskQueue]:
        namespaces = self._namespaces
        try:
            bodies = [body for space in namespaces for body in await self._kube.list(TASK_QUEUES, space)]
        except Forbidden:
            bodies = await self._kube.list(TASK_QUEUES, queue.metadata.namespace)
        others: list[TaskQueue] = []
        for body in bodies:
            try:
                other = TaskQueue.parse(body)
            except ValidationError:
                continue
            if other.metadata.uid != queue.metadata.uid and not other.metadata.deleting:
                others.append(other)
        return others

    async def _same_broker(self, other: TaskQueue, identity: str) -> bool:
        ref = other.secret_ref
        try:
            broker = await self._poller.broker(other.metadata.namespace, ref.name, ref.key)
        except BrokerError:
            return True  # not known: a queue that may be somebody's is not deleted
        return broker.identity == identity
