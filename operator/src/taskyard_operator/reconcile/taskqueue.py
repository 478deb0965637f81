"""One pass over a TaskQueue: look at it, its Secret and its broker, bring the broker to the plan, tell.

The counts come from the poller, which wakes a pass when they change; the broker is only asked to declare
when something may be missing: at first, after a change of the spec, after a failure, when the poll misses
the queue, and every two minutes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pydantic import ValidationError

from taskyard_operator.api.metadata import ObjectMeta
from taskyard_operator.api.model import describe_errors
from taskyard_operator.api.names import FINALIZER_BROKER_QUEUE, QueueReason
from taskyard_operator.api.taskqueue import SecretKeyRef, TaskQueue, TaskQueueStatus
from taskyard_operator.brokers.base import Broker, BrokerError, QueueWatch
from taskyard_operator.brokers.poller import Poller
from taskyard_operator.core.queue import BrokerFailure, QueueSample
from taskyard_operator.core.queue_plan import BrokerFamily, EnsureResult, QueuePlan, plan_queue
from taskyard_operator.core.queue_status import QUEUE_FAILURES, QueueView, build_status
from taskyard_operator.kube.errors import Forbidden, NotFound
from taskyard_operator.kube.resources import JSON, TASK_QUEUES
from taskyard_operator.reconcile.taskqueue_api import KubeApi
from taskyard_operator.reconcile.taskqueue_claims import BrokerQueue, Claim, Claims
from taskyard_operator.reconcile.taskqueue_deletion import BrokerQueueRemover
from taskyard_operator.reconcile.taskqueue_status import StatusWriter
from taskyard_operator.reconcile.taskqueue_turns import Turns

log = logging.getLogger(__name__)

RESYNC = 120.0
"""Seconds between two looks for drift."""

_RETRY = 10.0
_DELETION_RETRY = 5.0
_WAITED_ENOUGH = 20.0
"""Seconds after which a TaskQueue asks again for its turn, should it have been passed over."""
_SOON = 0.2
_BROKER_LIMIT = 15.0
_SETTLED = 2.0
"""Seconds after a declaration in which a poll may still tell what was before."""


@dataclass(slots=True)
class _Known:
    """What the operator remembers of a TaskQueue between passes; all of it can be found out again.

    `generation` is the one last tried (with `failure` if it failed), `ensured_generation` the one that
    `ensured` is about; `at` and `due` are when it went through and when it is tried again.
    """

    uid: str
    ref: SecretKeyRef
    plan: QueuePlan | None = None
    ensured: EnsureResult | None = None
    ensured_generation: int = -1
    generation: int = -1
    failure: BrokerFailure | None = None
    at: float = float("-inf")
    due: float = float("-inf")

    def ensured_for(self, queue: TaskQueue) -> EnsureResult | None:
        """The latest declaration, if it was of the spec as it is."""
        return self.ensured if self.ensured_generation == queue.metadata.generation else None


class TaskQueueReconciler:
    """Passes over TaskQueues. `wake` asks for a pass over another TaskQueue (namespace, name)."""

    def __init__(
        self,
        kube: KubeApi,
        poller: Poller,
        *,
        namespaces: Sequence[str] = (),
        wake: Callable[[str, str], None] = lambda namespace, name: None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kube = kube
        self._poller = poller
        self._namespaces = tuple(namespaces) or ("",)
        self._wake = wake
        self._clock = clock
        self._now = now
        self._writer = StatusWriter(kube)
        self._remover = BrokerQueueRemover(kube, poller, self._namespaces)
        self._claims = Claims()
        self._seeding: asyncio.Task[None] | None = None
        self._known: dict[tuple[str, str], _Known] = {}
        self._turns = Turns(wake)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """One pass; the seconds until the next one is wanted, or None."""
        body = await self._kube.get(TASK_QUEUES, namespace, name)
        if body is None:
            await self._gone(namespace, name)
            return None
        try:
            queue = TaskQueue.parse(body)
        except ValidationError as problem:
            self._poller.forget(namespace, name)
            await self._write(body, _nameless(body), QueueView(invalid=describe_errors(problem)))
            return None
        if queue.metadata.deleting:
            return await self._delete(body, queue)
        await self._keep_finalizer(queue)
        return await self._keep(body, queue)

    # -- a TaskQueue that stays

    async def _keep(self, body: JSON, queue: TaskQueue) -> float | None:
        namespace, name = queue.metadata.namespace, queue.metadata.name
        known = self._remember(queue)
        self._watch(queue)
        sample = self._poller.sample(namespace, name)
        told = queue.status.observed_generation == queue.metadata.generation
        if sample is None and told:
            # The operator has just started: until the first poll, which wakes a pass, what was told before
            # it is the best that is known, and no reason for an event.
            return None
        try:
            broker = await self._poller.broker(namespace, known.ref.name, known.ref.key)
        except BrokerError as problem:
            failure = BrokerFailure(problem.reason, problem.message)
            sample = replace(sample or QueueSample(None, self._now().timestamp()), failure=failure)
            view = QueueView(sample=sample, ensured=known.ensured_for(queue))
            return _sooner(_RETRY, await self._write(body, queue, view))
        plan = known.plan = plan_queue(queue.spec, name, broker.family)
        view = QueueView(broker.identity, plan, sample)
        if (holder := await self._holder(queue, broker)) is not None:
            return _sooner(RESYNC, await self._write(body, queue, replace(view, holder=holder)))
        if self._must_ensure(queue, known, view):
            if not self._turns.take(broker.identity, namespace, name):
                return _WAITED_ENOUGH
            try:
                await self._ensure(queue, known, broker, plan)
            finally:
                self._turns.done(broker.identity)
            if known.failure is None and sample is not None and sample.failure is not None:
                view = replace(view, sample=replace(sample, failure=None))  # it was of before
                self._poller.poll_soon(namespace, name)
        view = replace(view, ensured=known.ensured_for(queue), failure=known.failure)
        wait = max(known.due - self._clock(), _SOON) if known.generation >= 0 else None
        return _sooner(wait, await self._write(body, queue, view))

    def _remember(self, queue: TaskQueue) -> _Known:
        owner = (queue.metadata.namespace, queue.metadata.name)
        known = self._known.get(owner)
        if known is None or known.uid != queue.metadata.uid or known.ref != queue.secret_ref:
            known = self._known[owner] = _Known(queue.metadata.uid, queue.secret_ref)
        return known

    def _watch(self, queue: TaskQueue) -> None:
        self._poller.watch(
            queue.metadata.namespace,
            queue.metadata.name,
            secret=queue.secret_ref.name,
            key=queue.secret_ref.key,
            queue=QueueWatch(
                queue.queue_name,
                queue.dead_queue_name,
                tuple(item.routing_key for item in queue.spec.bindings if item.exchange_type == "direct"),
            ),
        )

    def _must_ensure(self, queue: TaskQueue, known: _Known, view: QueueView) -> bool:
        """Whether the broker should be asked to declare now: never one whose latest poll failed."""
        sample, plan = view.sample, view.plan
        if sample is None or plan is None:
            return False  # the first poll wakes a pass
        if sample.failure is not None and sample.failure.reason not in QUEUE_FAILURES:
            return False
        if known.generation != queue.metadata.generation or self._clock() >= known.due:
            return True
        if known.failure is not None or self._clock() < known.at + _SETTLED:
            return False
        if sample.failure is not None:
            return sample.failure.reason == QueueReason.QUEUE_NOT_FOUND
        dead = sample.depth.dead if sample.depth else None
        return plan.family is BrokerFamily.RABBITMQ and plan.dead is not None and dead is None

    async def _ensure(self, queue: TaskQueue, known: _Known, broker: Broker, plan: QueuePlan) -> None:
        """Declare, and remember what came of it."""
        known.generation = queue.metadata.generation
        try:
            async with asyncio.timeout(_BROKER_LIMIT):
                known.ensured = await broker.ensure(plan)
        except (BrokerError, TimeoutError) as problem:
            reason = problem.reason if isinstance(problem, BrokerError) else QueueReason.UNREACHABLE
            known.failure = BrokerFailure(reason, str(problem) or "the broker did not answer in time")
            known.due = self._clock() + _RETRY
            return
        known.failure, known.ensured_generation = None, queue.metadata.generation
        known.at = self._clock()
        # Spread, so that TaskQueues applied together are not looked at together for ever.
        known.due = known.at + RESYNC * random.uniform(0.9, 1.0)
        if known.ensured.created:
            log.info("made queue %s at %s", plan.queue.name, broker.identity)

    async def _write(self, body: JSON, queue: TaskQueue, view: QueueView) -> float | None:
        status = build_status(queue, view, self._now())
        return await self._writer.write(body, queue, status, self._clock())

    async def _keep_finalizer(self, queue: TaskQueue) -> None:
        present = FINALIZER_BROKER_QUEUE in queue.metadata.finalizers
        if present != queue.spec.needs_finalizer:
            await self._set_finalizer(queue, queue.spec.needs_finalizer)

    async def _set_finalizer(self, queue: TaskQueue, wanted: bool) -> None:
        others = [item for item in queue.metadata.finalizers if item != FINALIZER_BROKER_QUEUE]
        metadata = {
            "finalizers": [*others, FINALIZER_BROKER_QUEUE] if wanted else others,
            "resourceVersion": queue.metadata.resource_version,
        }
        await self._kube.merge(
            TASK_QUEUES, queue.metadata.namespace, queue.metadata.name, {"metadata": metadata}
        )

    # -- several TaskQueues for one queue

    async def _holder(self, queue: TaskQueue, broker: Broker) -> str | None:
        """The older TaskQueue that stands for the same queue, if there is one."""
        if self._seeding is None:
            self._seeding = asyncio.create_task(self._seed_claims())
        await asyncio.shield(self._seeding)
        claim = _claim(queue)
        oldest = self._claims.claim(BrokerQueue(broker.identity, queue.queue_name), claim)
        return None if oldest == claim else str(oldest)

    async def _seed_claims(self) -> None:
        """After a start: an older TaskQueue must not lose because a younger one is looked at first."""
        by_name: dict[str, list[TaskQueue]] = {}
        try:
            bodies = [
                body for space in self._namespaces for body in await self._kube.list(TASK_QUEUES, space)
            ]
        except Forbidden as problem:
            log.warning("TaskQueues of other namespaces are not compared: %s", problem)
            return
        for body in bodies:
            try:
                queue = TaskQueue.parse(body)
            except ValidationError:
                continue
            if not queue.metadata.deleting:
                by_name.setdefault(queue.queue_name, []).append(queue)
        for name, queues in by_name.items():
            if len(queues) < 2:
                continue
            for queue in queues:
                ref = queue.secret_ref
                try:
                    broker = await self._poller.broker(queue.metadata.namespace, ref.name, ref.key)
                except BrokerError:
                    continue  # without a broker it can do nothing wrong
                self._claims.claim(BrokerQueue(broker.identity, name), _claim(queue))

    # -- the end

    async def _delete(self, body: JSON, queue: TaskQueue) -> float | None:
        if FINALIZER_BROKER_QUEUE not in queue.metadata.finalizers:
            return None
        known = self._remember(queue)
        namespace, name = queue.metadata.namespace, queue.metadata.name
        removal = await self._remover.remove(queue)
        if removal.waits is None:
            if removal.kept is not None:
                await self._kube.event(body, type="Warning", reason="BrokerQueueKept", message=removal.kept)
            try:
                await self._set_finalizer(queue, False)
            except NotFound:
                log.debug("TaskQueue %s/%s was gone already", namespace, name)
            self._forget(namespace, name)
            return None
        view = QueueView(
            broker=queue.status.broker,
            plan=known.plan,
            sample=self._poller.sample(namespace, name),
            ensured=known.ensured_for(queue),
            failure=known.failure,
            deleting=removal.waits,
        )
        await self._write(body, queue, view)
        return _DELETION_RETRY

    async def _gone(self, namespace: str, name: str) -> None:
        known, heirs = self._known.get((namespace, name)), self._forget(namespace, name)
        if known is not None and known.plan is not None and known.ensured is not None and not heirs:
            await self._remover.drop_policies(namespace, known.ref.name, known.ref.key, known.plan)

    def _forget(self, namespace: str, name: str) -> list[Claim]:
        """Let go of a TaskQueue; the others that name its queue, the oldest of which gets it."""
        self._known.pop((namespace, name), None)
        self._poller.forget(namespace, name)
        self._writer.forget(namespace, name)
        heirs = self._claims.release(namespace, name)
        for heir in heirs:
            self._wake(heir.namespace, heir.name)
        return heirs


def _claim(queue: TaskQueue) -> Claim:
    created = queue.metadata.creation_timestamp
    return Claim(
        created.timestamp() if created else 0.0,
        queue.metadata.namespace,
        queue.metadata.name,
        queue.metadata.uid,
    )


def _nameless(body: JSON) -> TaskQueue:
    """A TaskQueue whose spec cannot be read, for its status alone."""
    try:
        status = TaskQueueStatus.model_validate(body.get("status") or {})
    except ValidationError:
        status = TaskQueueStatus()
    return TaskQueue(metadata=ObjectMeta.model_validate(body["metadata"]), status=status)


def _sooner(one: float | None, other: float | None) -> float | None:
    waits = [wait for wait in (one, other) if wait is not None]
    return min(waits) if waits else None
