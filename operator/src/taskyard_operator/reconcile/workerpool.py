"""One pass over a WorkerPool: observe, plan, apply, report."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from taskyard_operator import metrics
from taskyard_operator.api.names import PoolReason
from taskyard_operator.api.workerpool import WorkerPoolStatus
from taskyard_operator.core.actions import Action, Grow, Shrink
from taskyard_operator.core.observation import rfc3339
from taskyard_operator.core.planner import Plan, PoolMemory, plan
from taskyard_operator.core.pool_status import Scaled, patch_of, scaled_before, status_of
from taskyard_operator.core.state import Problem
from taskyard_operator.kube.errors import KubeError
from taskyard_operator.kube.resources import WORKER_POOLS
from taskyard_operator.reconcile.ports import Kube, Samples, Workers
from taskyard_operator.reconcile.workerpool_apply import Executor, Outcome
from taskyard_operator.reconcile.workerpool_observe import Observed, observe

log = logging.getLogger(__name__)

AFTER_CONFLICT = 0.2
"""Seconds until the world is looked at again after it turned out to have changed."""
AFTER_REFUSAL = 10.0
"""Seconds until the API server is asked again for what it refused."""


@dataclass(slots=True)
class _Kept:
    """What is kept of a pool between passes; losing it costs nothing but a moment."""

    uid: str
    memory: PoolMemory = field(default_factory=PoolMemory)
    status_written: float = 0.0


class WorkerPoolReconciler:
    """Brings WorkerPools to what their specs ask for, one pass at a time."""

    def __init__(
        self,
        kube: Kube,
        workers: Workers,
        samples: Samples,
        *,
        glance: Kube | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`glance` is cheaper to ask than `kube`, and may be a moment behind; `clock` gives Unix seconds."""
        self._kube = kube
        self._glance = glance or kube
        self._workers = workers
        self._samples = samples
        self._clock = clock
        self._executor = Executor(kube, workers, clock=clock, sleep=sleep)
        self._kept: dict[tuple[str, str], _Kept] = {}

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """One pass.

        Returns:
            The seconds until the next one, or None to wait for an event.

        Raises:
            KubeError: where the API server does not answer.
        """
        body = await self._kube.get(WORKER_POOLS, namespace, name)
        if body is None:
            self._kept.pop((namespace, name), None)
            metrics.forget_pool(namespace, name)
            return None
        kept = self._kept.get((namespace, name))
        if kept is None or kept.uid != body["metadata"]["uid"]:
            kept = self._kept[namespace, name] = _Kept(body["metadata"]["uid"])
        seen = await observe(self._glance, self._workers, self._samples, body, self._clock())
        made = plan(seen.view, kept.memory)
        if made.actions and self._glance is not self._kube:
            # A glance is good enough to see that nothing is to be done, and for no more than that.
            seen = await observe(self._kube, self._workers, self._samples, body, self._clock())
            made = plan(seen.view, kept.memory)
        if made.actions:
            log.info("%s/%s: %s", namespace, name, _summary(made))
        outcome = await self._executor.run(seen.pool, made.actions)
        kept.memory = made.memory
        if outcome.applied:
            kept.memory = replace(made.memory, applied=outcome.applied, applied_at=seen.view.now)
        if made.requeue_after is None:
            return None
        await self._report(seen, made, outcome, kept)
        if outcome.conflict:
            return AFTER_CONFLICT
        return AFTER_REFUSAL if outcome.refusals else made.requeue_after

    async def _report(self, seen: Observed, made: Plan, outcome: Outcome, kept: _Kept) -> None:
        view, decision = seen.view, made.decision
        scaled = scaled_before(seen.status)
        if outcome.scaled and decision is not None and decision.desired != decision.current:
            word = "up" if decision.desired > decision.current else "down"
            manual = view.settings.manual is not None
            why = "spec.replicas was set" if manual else decision.recommendation.message
            words = f"scaled {word} from {decision.current} to {decision.desired}: {why}"
            scaled = Scaled(rfc3339(view.now), words)
            await self._kube.event(
                seen.pool.body, type="Normal", reason=f"Scaled{word.capitalize()}", message=words
            )
        refusal = None
        if outcome.refusals:
            reason = PoolReason.INVALID_TEMPLATE if outcome.failed else PoolReason.CREATE_FAILED
            refusal = Problem(reason, f"the API server refused: {outcome.refusals[0]}")
        status = status_of(view, decision, seen.status, scaled=scaled, refusal=refusal)
        _count(view.namespace, view.name, status)
        before = seen.pool.body.get("status") or {}
        patch = patch_of(before, status, written_at=kept.status_written, now=view.now)
        if patch is None:
            return
        try:
            await self._kube.merge(
                WORKER_POOLS, view.namespace, view.name, {"status": patch}, subresource="status"
            )
        except KubeError as problem:
            if problem.status != 404:
                raise
            return  # the pool went while its last pass ran
        kept.status_written = view.now


def _count(namespace: str, name: str, status: WorkerPoolStatus) -> None:
    metrics.pool(
        namespace,
        name,
        desired=status.desired_replicas or 0,
        ready=status.ready_replicas or 0,
        busy=status.busy_replicas or 0,
        draining=status.draining_replicas or 0,
        slots=status.slots.total if status.slots else 0,
        busy_slots=status.slots.busy if status.slots else 0,
    )


def _summary(made: Plan) -> str:
    """The plan in one line, without bodies: they may hold secrets."""
    return ", ".join(_brief(action) for action in made.actions)


def _brief(action: Action) -> str:
    kind = type(action).__name__
    match action:
        case Grow():
            back = f", {len(action.resume)} come back" if action.resume else ""
            return f"{kind} {action.deployment} {action.current}->{action.replicas}{back}"
        case Shrink():
            return f"{kind} {action.deployment} {action.current}->{action.replicas}"
        case _:
            pod = getattr(action, "pod", None)
            what = pod.name if pod is not None else getattr(action, "name", getattr(action, "reason", ""))
            return f"{kind} {what}".strip()
