"""Carries a plan out. Any step may be the operator's last one: the order is what keeps tasks safe.

* To shrink: the worker stops consuming, the pod loses its label, its ReplicaSet is *seen* to have let it go,
  and only then the Deployment is lowered: by as many as were let go, never below the number of pods that run.
* To grow: draining workers consume again at once, the Deployment is raised, its ReplicaSet is *seen* to know
  it, and only then the pods get their label back, as many as there is room for beside the pods that run.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from taskyard_operator.api import names
from taskyard_operator.core import actions
from taskyard_operator.core.actions import Action, PodRef
from taskyard_operator.core.observation import pod_view, rfc3339
from taskyard_operator.core.render import owner_reference
from taskyard_operator.core.state import PodView, WorkerState
from taskyard_operator.kube.errors import Conflict, KubeError
from taskyard_operator.kube.resources import (
    DEPLOYMENTS,
    JSON,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICASETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    WORKER_POOLS,
    Resource,
)
from taskyard_operator.reconcile.ports import Kube, Workers
from taskyard_operator.workers.client import WorkerError

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that a pass waits for a ReplicaSet to follow; the next pass goes on where this one gave up."""
_POLL = 0.05
_YOUNG = 0.4
"""Seconds in which a pod that a ReplicaSet has just made surely runs no task, so that it may go."""
_AT_ONCE = 32

_KINDS: Mapping[str, Resource] = {
    item.kind: item for item in (SERVICE_ACCOUNTS, SERVICES, POD_DISRUPTION_BUDGETS, SECRETS)
}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Pool:
    """The pool that a plan is for: its object, and the token that its workers want."""

    body: JSON
    token: str | None

    @property
    def namespace(self) -> str:
        """The pool's namespace."""
        return str(self.body["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """The pool's name."""
        return str(self.body["metadata"]["name"])

    @property
    def uid(self) -> str:
        """The pool's uid."""
        return str(self.body["metadata"]["uid"])


@dataclass(slots=True)
class Outcome:
    """What came of a plan."""

    scaled: bool = False  # a Deployment's replicas were changed
    applied: str = ""  # digest of the children that were applied
    conflict: bool = False  # somebody changed what the plan was made from: look again at once
    refusals: list[KubeError] = field(default_factory=list)  # what the API server would not take
    failed: set[str] = field(default_factory=set)  # Deployments that could not be made


class Executor:
    """Carries plans out, one call of :meth:`run` for each."""

    def __init__(
        self,
        kube: Kube,
        workers: Workers,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._kube = kube
        self._workers = workers
        self._clock = clock
        self._sleep = sleep

    async def run(self, pool: Pool, plan: Iterable[Action]) -> Outcome:
        """Carry a plan out as far as it goes.

        A conflict ends it (the next pass sees why); what the API server refuses is noted, and the rest goes
        on.
        """
        outcome = Outcome()
        for action in plan:
            try:
                await self._do(pool, action, outcome)
            except Conflict as problem:
                log.debug("%s/%s: %s: %s", pool.namespace, pool.name, type(action).__name__, problem)
                outcome.conflict = True
                break
            except KubeError as problem:
                if problem.status == 0 or problem.status >= 500 or problem.status == 429:
                    raise
                outcome.refusals.append(problem)
                if isinstance(action, actions.AddFinalizer):
                    break
                if isinstance(action, actions.EnsureDeployment):
                    outcome.failed.add(action.name)
        return outcome

    async def _do(self, pool: Pool, action: Action, outcome: Outcome) -> None:
        match action:
            case actions.Grow():
                if action.deployment not in outcome.failed:
                    await self._grow(pool, action, outcome)
            case actions.Shrink():
                await self._shrink(pool, action, outcome)
            case actions.DrainPod(pod):
                await self._tell(self._workers.drain, pool, pod)
            case actions.ResumePod(pod):
                await self._tell(self._workers.resume, pool, pod)
            case actions.DeletePod(pod, why, unchanged):
                log.info("%s/%s: deleting pod %s: %s", pool.namespace, pool.name, pod.name, why)
                version = pod.resource_version if unchanged else None
                await self._kube.delete(PODS, pool.namespace, pod.name, uid=pod.uid, resource_version=version)
            case actions.EmitEvent(type_, reason, message):
                await self._kube.event(pool.body, type=type_, reason=reason, message=message)
            case actions.ApplyChildren(bodies, digest):
                for body in bodies:
                    await self._kube.apply(_KINDS[body["kind"]], dict(body))
                outcome.applied = digest
            case actions.EnsureDeployment():
                await self._ensure(action)
            case actions.DeleteDeployment(name, uid, version):
                await self._kube.delete(
                    DEPLOYMENTS,
                    pool.namespace,
                    name,
                    uid=uid,
                    resource_version=version,
                    propagation="Background",
                )
            case actions.AddFinalizer():
                await self._finalizers(pool, [*_finalizers(pool.body), names.FINALIZER_DRAIN])
            case actions.RemoveFinalizer():
                rest = [item for item in _finalizers(pool.body) if item != names.FINALIZER_DRAIN]
                await self._finalizers(pool, rest)

    async def _ensure(self, action: actions.EnsureDeployment) -> None:
        body = dict(action.body)
        if not action.exists:
            # With no replicas: they are raised when needed. Left out of later applies, they stay as set.
            try:
                await self._kube.create(DEPLOYMENTS, {**body, "spec": {**body["spec"], "replicas": 0}})
            except Conflict:
                log.debug("Deployment %s is there already", action.name)
        await self._kube.apply(DEPLOYMENTS, body)

    async def _finalizers(self, pool: Pool, finalizers: list[str]) -> None:
        metadata = {
            "finalizers": finalizers,
            "uid": pool.uid,
            "resourceVersion": pool.body["metadata"]["resourceVersion"],
        }
        answer = await self._kube.merge(WORKER_POOLS, pool.namespace, pool.name, {"metadata": metadata})
        version = answer.get("metadata", {}).get("resourceVersion")
        if version is not None:
            pool.body["metadata"]["resourceVersion"] = version

    async def _grow(self, pool: Pool, action: actions.Grow, outcome: Outcome) -> None:
        resumed = await _gather(self._tell(self._workers.resume, pool, pod) for pod in action.resume)
        back = [pod for pod, done in zip(action.resume, resumed, strict=True) if done]
        before = await self._pods(pool, action.revision) if back else []
        if action.replicas > action.current:
            await self._kube.scale(DEPLOYMENTS, pool.namespace, action.deployment, action.replicas)
            outcome.scaled = True
        if not back or not await self._raised(pool, action):
            return
        until = self._clock() + _YOUNG
        room = action.replicas - _occupied(before, await self._pods(pool, action.revision))
        # Those that are too late are left to the next pass: what the ReplicaSet made instead may run by then.
        await _gather(self._readopt(pool, pod, until) for pod in back[: max(0, room)])

    async def _raised(self, pool: Pool, action: actions.Grow) -> bool:
        """Wait until the ReplicaSet has acted on at least as many replicas as asked for."""

        async def seen() -> bool:
            labels = {names.LABEL_POOL: pool.name, names.LABEL_REVISION: action.revision}
            for item in await self._kube.list(REPLICASETS, pool.namespace, labels=labels):
                observed = (item.get("status") or {}).get("observedGeneration", 0)
                if (
                    int(item["spec"].get("replicas", 0)) >= action.replicas
                    and observed >= item["metadata"].get("generation", 0)
                    and "deletionTimestamp" not in item["metadata"]
                ):
                    return True
            return False

        return await self._wait(seen)

    async def _readopt(self, pool: Pool, ref: PodRef, until: float) -> bool:
        pod = await self._kube.get(PODS, pool.namespace, ref.name)
        if self._clock() > until:
            return False
        if pod is None or pod["metadata"]["uid"] != ref.uid or "deletionTimestamp" in pod["metadata"]:
            return False
        owners = [item for item in _owners(pod) if item.get("uid") != pool.uid]
        return await self._patch(
            pool,
            pod,
            labels={names.LABEL_ACTIVE: "true"},
            annotations={names.ANNOTATION_DRAIN: None, names.ANNOTATION_DRAINING_SINCE: None},
            owners=owners,
        )

    async def _shrink(self, pool: Pool, action: actions.Shrink, outcome: Outcome) -> None:
        before = await self._pods(pool, action.revision)
        drained = await _gather(self._tell(self._workers.drain, pool, pod) for pod in action.drain)
        told = [pod for pod, done in zip(action.drain, drained, strict=True) if done]
        leaving = [(pod, True) for pod in told] + [(pod, False) for pod in action.release]
        released = await _gather(self._release(pool, pod, told=asked) for pod, asked in leaving)
        gone = {pod.uid for (pod, _), done in zip(leaving, released, strict=True) if done}
        let_go = await self._let_go(pool, action.revision, gone)
        floor = _occupied(before, await self._pods(pool, action.revision))
        # Whatever happened meanwhile: with so many replicas a ReplicaSet kills nothing that could run.
        replicas = max(action.current - action.absent - let_go, floor)
        if replicas < action.current:
            await self._kube.scale(DEPLOYMENTS, pool.namespace, action.deployment, replicas)
            outcome.scaled = True

    async def _release(self, pool: Pool, ref: PodRef, *, told: bool) -> bool:
        """Take the label off a pod. One that was not told to drain must still not have started."""
        pod = await self._kube.get(PODS, pool.namespace, ref.name)
        if pod is None or pod["metadata"]["uid"] != ref.uid:
            return False
        view = pod_view(pod)
        if not view.counts or (view.started and not view.lost and not told):
            return False
        owners = _owners(pod)
        if not any(item.get("uid") == pool.uid for item in owners):
            owners = [*owners, owner_reference(pool.name, pool.uid, controller=False)]
        return await self._patch(
            pool,
            pod,
            labels={names.LABEL_ACTIVE: None},
            annotations={
                names.ANNOTATION_DRAIN: "true",
                names.ANNOTATION_DRAINING_SINCE: rfc3339(self._clock()),
            },
            owners=owners,
        )

    async def _let_go(self, pool: Pool, revision: str, released: Collection[str]) -> int:
        """Wait until ReplicaSets own none of the released pods; how many that holds for.

        With the first that it lets go a ReplicaSet makes replacements: from then on there is no time to lose.
        """
        held: set[str] = set(released)
        until = self._clock() + PATIENCE
        hurried = False
        while held:
            pods = await self._pods(pool, revision)
            held.intersection_update({pod.uid for pod in pods if pod.controlled})
            if not hurried and len(held) < len(released):
                hurried = True
                until = min(until, self._clock() + _YOUNG)
            if not held or self._clock() >= until:
                break
            await self._sleep(_POLL)
        return len(released) - len(held)

    async def _pods(self, pool: Pool, revision: str) -> list[PodView]:
        labels = {names.LABEL_POOL: pool.name, names.LABEL_REVISION: revision}
        return [pod_view(pod) for pod in await self._kube.list(PODS, pool.namespace, labels=labels)]

    async def _wait(self, seen: Callable[[], Awaitable[bool]]) -> bool:
        until = self._clock() + PATIENCE
        while not await seen():
            if self._clock() >= until:
                return False
            await self._sleep(_POLL)
        return True

    async def _patch(
        self,
        pool: Pool,
        pod: JSON,
        *,
        labels: Mapping[str, str | None],
        annotations: Mapping[str, str | None],
        owners: list[JSON],
    ) -> bool:
        """Change a pod in one step, if it is still as it was read; False where it is not."""
        metadata: dict[str, Any] = {
            "uid": pod["metadata"]["uid"],
            "resourceVersion": pod["metadata"]["resourceVersion"],
            "labels": dict(labels),
            "annotations": dict(annotations),
            "ownerReferences": owners,
        }
        name = pod["metadata"]["name"]
        try:
            await self._kube.merge(PODS, pool.namespace, name, {"metadata": metadata})
        except KubeError as problem:
            if problem.status not in (404, 409):
                raise
            log.debug("%s/%s: pod %s changed meanwhile: %s", pool.namespace, pool.name, name, problem)
            return False
        return True

    async def _tell(
        self, call: Callable[[str, str], Awaitable[WorkerState]], pool: Pool, pod: PodRef
    ) -> bool:
        if pod.ip is None or pool.token is None:
            return False
        try:
            await call(pod.ip, pool.token)
        except WorkerError as problem:
            log.warning("%s/%s: pod %s: %s", pool.namespace, pool.name, pod.name, problem)
            return False
        return True


def _occupied(before: Iterable[PodView], now: Iterable[PodView]) -> int:
    """How many replicas are pods in which a task could run.

    A container runs up to seconds before the API server hears of it, so a pod that has a node counts. Not
    those that were made since `before`: they are the youngest, hence the first that a ReplicaSet removes.
    """
    known = {pod.uid for pod in before}
    return sum(
        1
        for pod in now
        if pod.counts
        and (pod.started or pod.phase == "Running" or (pod.uid in known and not pod.unplaceable))
    )


def _owners(pod: JSON) -> list[JSON]:
    return list(pod["metadata"].get("ownerReferences") or [])


def _finalizers(body: JSON) -> list[str]:
    return list(body["metadata"].get("finalizers") or [])


async def _gather(calls: Iterable[Awaitable[_T]]) -> list[_T]:
    """Run calls together, not too many at once; the first error ends it when all have ended."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(call: Awaitable[_T]) -> _T:
        async with limit:
            return await call

    results = await asyncio.gather(*(one(call) for call in calls), return_exceptions=True)
    values: list[_T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        values.append(result)
    return values
