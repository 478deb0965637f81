"""From what was seen to what is to be done: pure and level-triggered.

Every pass looks at the world anew. There is no step that remembers the one before: an operator that dies
between any two actions leaves pods, labels and counts from which the next one goes on. The orders that
matter are inside :class:`~.actions.Grow` and :class:`~.actions.Shrink`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from taskyard_operator.core import rollout, victims
from taskyard_operator.core.actions import (
    Action,
    AddFinalizer,
    ApplyChildren,
    DeleteDeployment,
    DeletePod,
    DrainPod,
    EmitEvent,
    EnsureDeployment,
    Grow,
    RemoveFinalizer,
    ResumePod,
    Shrink,
)
from taskyard_operator.core.demand import WorkerTotals
from taskyard_operator.core.rollout import Division
from taskyard_operator.core.scaler import Inputs, Memory, Recommendation, recommend
from taskyard_operator.core.state import DeploymentView, PodView, PoolView

SOON = 1.0
"""Seconds until the next pass while something changes."""
AT_REST = 5.0
"""Seconds until the next pass while nothing does."""
AT_ZERO = 12.0
"""The same with no pod and no message, until the first one; below `LONGEST_GAP`, so that the rates go on."""
SATURATED_AFTER = 60.0
"""Seconds that a pod waits for a node before no more are asked for."""
RELEASE_SEEN_AFTER = 3.0
"""Seconds after which a released pod has been seen to leave its ReplicaSet, and its worker to answer."""
REAPPLY_AFTER = 120.0
"""Seconds after which children are applied again, so that what somebody changed by hand is put right."""


@dataclass(frozen=True, slots=True)
class PoolMemory:
    """What is carried from pass to pass; all of it may be lost without a wrong step."""

    scaler: Memory = field(default_factory=Memory)
    desired: int | None = None
    applied: str = ""
    applied_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """How many pods are wanted and why; `recommendation` is the autoscaler's, even if it does not decide."""

    desired: int
    current: int
    recommendation: Recommendation
    division: Division | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and when to look again (seconds)."""

    actions: tuple[Action, ...]
    decision: Decision | None
    memory: PoolMemory
    requeue_after: float | None


def plan(view: PoolView, memory: PoolMemory) -> Plan:
    """Work out one pass."""
    if view.deleting:
        return _plan_deletion(view, memory)
    decision, memory = _decide(view, memory)
    actions: list[Action] = []
    if view.target is not None:
        if not view.finalizer:
            actions.append(AddFinalizer())
        actions += _ensure(view, memory)
    actions += _scale(view, decision)
    actions += _upkeep(view, actions)
    actions += _remove_empty(view)
    return Plan(tuple(actions), decision, memory, _when(view, decision, actions))


def _decide(view: PoolView, memory: PoolMemory) -> tuple[Decision, PoolMemory]:
    settings = view.settings
    current = _current(view, memory)
    recommendation, scaler = recommend(settings.policy, scaler_inputs(view, current), memory.scaler)
    if view.target is None:
        desired = current  # what the spec asks for is not known
    elif settings.manual is not None:
        desired = settings.manual
    elif settings.paused or settings.dry_run:
        desired = current
    else:
        desired = recommendation.replicas
    division = None
    if view.target is not None:
        division = rollout.divide(
            desired,
            target=view.target.deployment,
            revision=view.target.revision,
            deployments=view.deployments,
            pods=view.pods,
            settings=settings,
            now=view.now,
        )
    decision = Decision(desired, current, recommendation, division)
    return decision, replace(memory, scaler=scaler, desired=desired)


def _current(view: PoolView, memory: PoolMemory) -> int:
    """What was asked for last. One Deployment says it; during a rollout their sum holds the surge as well."""
    counts = [item.replicas for item in view.deployments if not item.deleting and item.replicas > 0]
    if len(counts) <= 1:
        return sum(counts)
    last = memory.desired if memory.desired is not None else view.previous.desired
    if last is None:
        return max(counts)
    return max(max(counts), min(last, sum(counts))) if memory.desired is None else last


def scaler_inputs(view: PoolView, current: int) -> Inputs:
    """Sum up the pods for the autoscaler."""
    workers: dict[str, WorkerTotals] = {}
    cold_starts: dict[str, float] = {}
    held_active = held_draining = silent = ready_slots = consuming = 0
    for pod in view.pods:
        if pod.terminal:
            continue
        if pod.worker is None:
            silent += pod.counts and pod.silent and pod.ready
            continue
        worker = pod.worker
        workers[pod.uid] = WorkerTotals(
            worker.finished, worker.busy_seconds, worker.uptime_seconds, worker.busy
        )
        held = max(worker.held, worker.busy)
        if pod.counts:
            held_active += held
        else:
            held_draining += held
        if pod.counts and pod.consuming:
            consuming += 1
            ready_slots += worker.slots
            if pod.ready_since is not None and pod.restarts == 0:
                # Readiness may have come and gone since, the process began when it began.
                began = max(0.0, view.now - worker.uptime_seconds - pod.created)
                cold_starts[pod.uid] = max(0.0, min(pod.ready_since - pod.created, began + 10.0))
    waiting = [
        pod.unschedulable_since for pod in view.pods if pod.counts and pod.unschedulable_since is not None
    ]
    return Inputs(
        now=view.now,
        queue=view.queue,
        current=current,
        consuming=consuming,
        slots_per_pod=view.settings.slots_per_pod,
        ready_slots=ready_slots,
        held_active=held_active,
        held_draining=held_draining,
        silent=silent,
        failures=view.failures,
        workers=workers,
        cold_starts=cold_starts,
        service_time_hint=view.previous.service_time,
        saturated=bool(waiting) and view.now - min(waiting) >= SATURATED_AFTER,
    )


def _ensure(view: PoolView, memory: PoolMemory) -> Iterable[Action]:
    target = view.target
    assert target is not None
    exists = any(item.name == target.deployment for item in view.deployments)
    due = memory.applied != target.digest or view.now - memory.applied_at >= REAPPLY_AFTER
    if due:
        yield ApplyChildren(target.children, target.digest)
    if due or not exists:
        yield EnsureDeployment(target.deployment, target.deployment_body, exists)


def _scale(view: PoolView, decision: Decision) -> list[Action]:
    goals = dict(decision.division.goals) if decision.division is not None else {}
    grow: list[Action] = []
    shrink: list[Action] = []
    service = decision.recommendation.service_time or 0.0
    for item in _with_target(view):
        if item.deleting:
            continue
        goal = goals.get(item.name, item.replicas)
        back = _comebacks(view, item, goal)
        if goal > item.replicas:
            goal = max(item.replicas, goal - _just_released(view, item))
        if goal > item.replicas and _settling(view, item) and _may_come_back(view, item) > len(back):
            continue  # a replacement holds the place of a pod that drains, and is about to go
        if goal > item.replicas or back:
            grow.append(
                Grow(
                    item.name,
                    item.revision,
                    item.replicas,
                    max(goal, item.replicas),
                    tuple(victims.ref(pod) for pod in back),
                )
            )
        elif goal < item.replicas and not _settling(view, item):
            action = _shrink(view.pods, item, item.replicas - goal, service)
            if action is not None:
                shrink.append(action)
    return [*grow, *shrink]


def _with_target(view: PoolView) -> tuple[DeploymentView, ...]:
    """The Deployments, with the one that this very pass makes."""
    target = view.target
    if target is None or any(item.name == target.deployment for item in view.deployments):
        return view.deployments
    return (*view.deployments, DeploymentView(target.deployment, "", "", target.revision, 0))


def _comebacks(view: PoolView, item: DeploymentView, goal: int) -> list[PodView]:
    """Draining pods of a revision for which there is room: they come before pods that would have to be made.

    A pod that has a node takes its room, although it may not run yet: it may, before anybody hears of it, and
    its ReplicaSet would kill it for the one that comes back.
    """
    mine = [pod for pod in view.pods if pod.revision == item.revision]
    taken = sum(1 for pod in mine if pod.counts and not pod.unplaceable)
    return victims.comeback_order(mine)[: max(0, goal - taken)]


def _may_come_back(view: PoolView, item: DeploymentView) -> int:
    mine = [pod for pod in view.pods if pod.revision == item.revision]
    return len(victims.comeback_order(mine))


def _just_released(view: PoolView, item: DeploymentView) -> int:
    """Pods that began to drain a moment ago and may yet be seen able to come back: worth a short wait."""
    return sum(
        1
        for pod in view.pods
        if pod.revision == item.revision
        and pod.released
        and pod.started
        and not pod.terminal
        and (pod.controlled or pod.worker is None)
        and pod.draining_since is not None
        and view.now - pod.draining_since < RELEASE_SEEN_AFTER
    )


def _settling(view: PoolView, item: DeploymentView) -> bool:
    """Whether the ReplicaSet has yet to remove pods, such as replacements for those that were released."""
    return sum(1 for pod in view.pods if pod.counts and pod.revision == item.revision) > item.replicas


def _shrink(pods: Iterable[PodView], item: DeploymentView, count: int, service: float) -> Shrink | None:
    mine = [pod for pod in pods if pod.revision == item.revision]
    chosen = victims.choose(mine, replicas=item.replicas, count=count, service_time=service)
    if chosen.count == 0:
        return None
    return Shrink(
        item.name,
        item.revision,
        item.replicas,
        drain=tuple(victims.ref(pod) for pod in chosen.drain),
        release=tuple(victims.ref(pod) for pod in chosen.release),
        absent=chosen.absent,
    )


def _upkeep(view: PoolView, planned: Iterable[Action]) -> list[Action]:
    """See the released pods to their end, and wake those that nobody wants to drain."""
    planned = list(planned)
    back = {pod.uid for action in planned if isinstance(action, Grow) for pod in action.resume}
    leaving = {
        pod.uid
        for action in planned
        if isinstance(action, Shrink)
        for pod in (*action.drain, *action.release)
    }
    actions: list[Action] = []
    for pod in view.pods:
        worker = pod.worker
        if pod.released and pod.uid not in back:
            actions += _see_off(view, pod)
        elif (
            pod.counts
            and pod.uid not in leaving
            and worker is not None
            and worker.state in ("draining", "drained")
        ):
            actions.append(ResumePod(victims.ref(pod)))
    return actions


def _see_off(view: PoolView, pod: PodView) -> Iterable[Action]:
    worker = pod.worker
    if pod.terminal:
        yield DeletePod(victims.ref(pod), "its containers have ended")
        return
    if not pod.started:
        # It may run, and have a task, before anybody hears of it: only one that cannot is deleted now. Any
        # other is asked once it is known to run; if it saw the annotation at its start it does not consume.
        if pod.trouble is not None:
            yield DeletePod(victims.ref(pod), "it was not needed any more before it started", unchanged=True)
        return
    if worker is not None and worker.drained_of_work:
        yield DeletePod(victims.ref(pod), "it is drained")
        return
    timeout = view.settings.drain_timeout
    if timeout > 0 and pod.draining_since is not None and view.now - pod.draining_since >= timeout:
        held = "tasks of unknown number" if worker is None else f"{worker.held} task(s)"
        yield EmitEvent(
            "Warning",
            "DrainTimedOut",
            f"pod {pod.name} still held {held} after {timeout:g} s (shutdown.drainTimeout) and is stopped",
        )
        yield DeletePod(victims.ref(pod), "shutdown.drainTimeout is over")
        return
    if worker is not None and worker.state in ("starting", "running"):
        yield DrainPod(victims.ref(pod))


def _remove_empty(view: PoolView) -> Iterable[Action]:
    for item in view.deployments:
        if view.target is None or item.name == view.target.deployment or item.deleting:
            continue
        if item.replicas == 0 and not any(pod.revision == item.revision for pod in view.pods):
            yield DeleteDeployment(item.name, item.uid, item.resource_version)


def _plan_deletion(view: PoolView, memory: PoolMemory) -> Plan:
    """Drain everything, delete what is idle, and let the WorkerPool go when no pod is left."""
    if not view.finalizer:
        return Plan((), None, memory, None)
    actions: list[Action] = []
    for item in view.deployments:
        if item.replicas > 0 and not item.deleting and not _settling(view, item):
            action = _shrink(view.pods, item, item.replicas, 0.0)
            if action is not None:
                actions.append(action)
    leaving = {
        pod.uid
        for action in actions
        if isinstance(action, Shrink)
        for pod in (*action.drain, *action.release)
    }
    for pod in view.pods:
        if pod.released and pod.uid not in leaving:
            actions += _see_off(view, pod)
    if not view.pods and all(item.replicas == 0 for item in view.deployments):
        actions += [
            DeleteDeployment(item.name, item.uid, item.resource_version)
            for item in view.deployments
            if not item.deleting
        ]
        actions.append(RemoveFinalizer())
    return Plan(tuple(actions), None, memory, SOON)


def _when(view: PoolView, decision: Decision, actions: list[Action]) -> float:
    consuming = sum(1 for pod in view.pods if pod.counts and pod.consuming)
    draining = any(pod.released for pod in view.pods)
    updating = decision.division is not None and decision.division.updating
    waiting = decision.desired != consuming
    work_at_zero = decision.current == 0 and view.queue is not None and view.queue.ready > 0
    if actions or draining or updating or waiting or work_at_zero:
        return SOON
    empty = decision.current == 0 and not view.pods and view.problem is None and view.failures == 0
    return AT_ZERO if empty and view.queue is not None and not view.queue.in_flight else AT_REST
