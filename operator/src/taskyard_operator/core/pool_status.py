"""A WorkerPool's status: conditions and figures, worked out anew in each pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from taskyard_operator.api.conditions import condition, merge_conditions, summarize
from taskyard_operator.api.names import ConditionType, PoolReason
from taskyard_operator.api.workerpool import SlotsStatus, WorkerPoolStatus
from taskyard_operator.core.observation import rfc3339
from taskyard_operator.core.planner import SATURATED_AFTER, Decision
from taskyard_operator.core.render import replicas_selector
from taskyard_operator.core.scaler import Rule
from taskyard_operator.core.state import PodView, PoolView, Problem, Trouble

FIGURES_EVERY = 10.0
"""Seconds between two writes of the status in which only fast-moving figures differ."""
TURNED_EVERY = 1.0
"""The same where a figure came from zero or went to zero: what people look for first."""

_FIGURES = frozenset({"slots", "busyReplicas", "backlog", "serviceTime", "arrivalRate", "predictedLatency"})

_TURNING = ("backlog", "busyReplicas")

_LIMITED: dict[Rule, PoolReason] = {
    Rule.MAX: PoolReason.AT_MAX,
    Rule.MIN: PoolReason.AT_MIN,
    Rule.MAX_STEP: PoolReason.STEP_LIMITED,
    Rule.SATURATED: PoolReason.AT_CAPACITY,
    Rule.STABILIZING: PoolReason.STABILIZING,
    Rule.OBSERVING: PoolReason.STABILIZING,
}


@dataclass(frozen=True, slots=True)
class Scaled:
    """When the number of replicas was last changed (RFC 3339), and why."""

    at: str | None
    why: str | None


def status_of(
    view: PoolView,
    decision: Decision | None,
    before: WorkerPoolStatus,
    *,
    scaled: Scaled,
    refusal: Problem | None = None,
) -> WorkerPoolStatus:
    """Work the status out; `refusal` is what the API server would not take in this pass."""
    now = datetime.fromtimestamp(view.now, UTC)
    conditions = merge_conditions(
        before.conditions,
        [
            condition(type_, holds, reason, message, now=now, generation=view.generation)
            for type_, holds, reason, message in _conditions(view, decision, refusal)
        ],
    )
    replicas = [pod for pod in view.pods if pod.counts]
    consuming = [pod for pod in replicas if pod.consuming]
    workers = [pod.worker for pod in consuming if pod.worker is not None]
    recommendation = decision.recommendation if decision else None
    desired = _desired(view, decision)
    target = view.target
    return WorkerPoolStatus(
        observed_generation=view.generation,
        summary=summarize(conditions),
        revision=target.revision if target else before.revision,
        replicas=len(replicas),
        ready_replicas=len(consuming),
        updated_replicas=sum(1 for pod in replicas if target is not None and pod.revision == target.revision),
        busy_replicas=sum(1 for worker in workers if worker.busy > 0),
        draining_replicas=sum(1 for pod in view.pods if pod.released),
        desired_replicas=desired,
        selector=replicas_selector(view.name),
        slots=SlotsStatus(
            total=sum(worker.slots for worker in workers), busy=sum(worker.busy for worker in workers)
        ),
        backlog=view.queue.ready if view.queue is not None else None,
        service_time=_rounded(recommendation.service_time if recommendation else before.service_time),
        arrival_rate=_rounded(recommendation.arrival_rate if recommendation else None),
        predicted_latency=_rounded(recommendation.predicted_latency if recommendation else None),
        last_scale_time=datetime.fromisoformat(scaled.at) if scaled.at else None,
        last_scale_reason=scaled.why[:1024] if scaled.why else None,
        conditions=conditions,
    )


def patch_of(
    before: dict[str, Any], after: WorkerPoolStatus, *, written_at: float, now: float
) -> dict[str, Any] | None:
    """The merge patch that makes `before` into `after`; None if there is nothing worth writing.

    Figures that move all the time are written at most every `FIGURES_EVERY` seconds (`TURNED_EVERY` from and
    to zero) unless something else changes.
    """
    wanted = after.to_json()
    changed = {key for key in {*before, *wanted} if before.get(key) != wanted.get(key)}
    turned = any(bool(before.get(key)) != bool(wanted.get(key)) for key in _TURNING)
    pause = TURNED_EVERY if turned else FIGURES_EVERY
    if not changed or (changed <= _FIGURES and now - written_at < pause):
        return None
    return {key: wanted.get(key) for key in changed}


def _desired(view: PoolView, decision: Decision | None) -> int | None:
    if decision is None:
        return 0 if view.deleting else None
    if view.settings.manual is None and view.settings.dry_run:
        return decision.recommendation.replicas
    return decision.desired


_Row = tuple[ConditionType, bool, PoolReason | str, str]


def _conditions(view: PoolView, decision: Decision | None, refusal: Problem | None) -> Iterable[_Row]:
    yield _available(view, decision)
    yield _progressing(view, decision)
    yield _scaling_active(view, decision)
    yield _scaling_limited(view, decision)
    yield _degraded(view, decision, refusal)


def _available(view: PoolView, decision: Decision | None) -> _Row:
    type_ = ConditionType.AVAILABLE
    consuming = sum(1 for pod in view.pods if pod.counts and pod.consuming)
    if view.deleting:
        left = len(view.pods)
        return type_, False, PoolReason.DELETING, f"{left} pod(s) end their tasks before the pool goes"
    if decision is None or (view.target is None and not view.deployments):
        return type_, False, PoolReason.WORKERS_NOT_READY, "no worker can be started: see Degraded"
    desired = decision.desired
    if desired == 0 and consuming == 0:
        message = "no worker runs; the first message starts one"
        if view.settings.manual is not None:
            message = "no worker runs, as spec.replicas is 0"
        return type_, True, PoolReason.SCALED_TO_ZERO, message
    least = desired if view.settings.manual is not None else view.settings.policy.min_replicas
    words = f"{consuming} of {desired} workers consume"
    if consuming >= max(1, min(desired, least)):
        return type_, True, PoolReason.WORKERS_READY, words
    return type_, False, PoolReason.WORKERS_NOT_READY, words


def _progressing(view: PoolView, decision: Decision | None) -> _Row:
    type_ = ConditionType.PROGRESSING
    division = decision.division if decision else None
    if view.deleting or division is None or view.target is None:
        return type_, False, PoolReason.ROLLOUT_COMPLETE, "no rollout"
    if division.stuck:
        return type_, False, PoolReason.PROGRESS_DEADLINE_EXCEEDED, division.stuck
    revision = view.target.revision
    if division.updating:
        new = sum(1 for pod in view.pods if pod.counts and pod.consuming and pod.revision == revision)
        old = sum(1 for pod in view.pods if pod.counts and pod.revision != revision)
        words = f"{new} workers of revision {revision} consume, {old} old ones are left"
        return type_, True, PoolReason.ROLLING_OUT, words
    return type_, False, PoolReason.ROLLOUT_COMPLETE, f"all workers run revision {revision}"


def _scaling_active(view: PoolView, decision: Decision | None) -> _Row:
    type_ = ConditionType.SCALING_ACTIVE
    settings = view.settings
    if view.deleting:
        return type_, False, PoolReason.DELETING, "the pool is being deleted"
    if settings.manual is not None:
        return type_, False, PoolReason.MANUAL, f"spec.replicas is {settings.manual}"
    if view.target is None or decision is None:
        reason = view.problem.reason if view.problem else PoolReason.INVALID_SPEC
        return type_, False, reason, "replicas are held until the problem is solved: see Degraded"
    if settings.paused:
        return type_, False, PoolReason.PAUSED, "spec.autoscaling.paused is true"
    if settings.dry_run:
        words = f"would be: {decision.recommendation.replicas} replicas"
        return type_, False, PoolReason.DRY_RUN, words
    recommendation = decision.recommendation
    why = f" ({view.broker_trouble.message})" if view.broker_trouble else ""
    if recommendation.rule is Rule.STALE:
        return type_, False, PoolReason.METRICS_STALE, f"no fresh figures: replicas are held{why}"
    if recommendation.rule is Rule.FALLBACK:
        return type_, False, PoolReason.FALLBACK, f"the broker cannot be read: fallback.replicas applies{why}"
    return type_, True, PoolReason.AUTOSCALING, "the number of replicas follows the work"


def _scaling_limited(view: PoolView, decision: Decision | None) -> _Row:
    type_ = ConditionType.SCALING_LIMITED
    quota = next((item.failure for item in view.deployments if item.failure and item.replicas > 0), None)
    if quota is not None:
        return type_, True, quota.reason, quota.message
    idle = view.settings.manual is not None or view.settings.paused or view.settings.dry_run
    if decision is not None and not view.deleting and view.target is not None and not idle:
        rule = decision.recommendation.rule
        if rule in _LIMITED:
            words = f"{decision.recommendation.needed} replicas are needed, {decision.desired} are set"
            return type_, True, _LIMITED[rule], words
    return type_, False, PoolReason.WITHIN_LIMITS, ""


def _degraded(view: PoolView, decision: Decision | None, refusal: Problem | None) -> _Row:
    type_ = ConditionType.DEGRADED
    if view.problem is not None:
        return type_, True, view.problem.reason, view.problem.message
    if refusal is not None:
        return type_, True, refusal.reason, refusal.message
    troubles = [
        (pod, pod.trouble) for pod in view.pods if not pod.deleting and pod.trouble and _lasting(view, pod)
    ]
    if troubles:
        return type_, True, *_pods_in(troubles)
    quota = next((item.failure for item in view.deployments if item.failure and item.replicas > 0), None)
    if quota is not None and quota.reason != PoolReason.QUOTA_EXCEEDED:
        return type_, True, quota.reason, quota.message
    stuck = decision.division.stuck if decision and decision.division else None
    if stuck:
        return type_, True, PoolReason.ROLLOUT_STUCK, stuck
    if view.broker_trouble is not None and not view.deleting:
        return type_, True, PoolReason.BROKER_UNREACHABLE, view.broker_trouble.message
    silent = [pod.name for pod in view.pods if pod.silent and pod.ready and not pod.deleting]
    blocked = view.deleting and silent
    if blocked:
        words = f"{len(silent)} worker(s) do not answer, so nobody knows what they do: delete them to go on: "
        return type_, True, PoolReason.WORKERS_NOT_READY, words + ", ".join(silent[:5])
    return type_, False, PoolReason.AS_EXPECTED, ""


def _lasting(view: PoolView, pod: PodView) -> bool:
    """A pod that waits for a node may only wait for the cluster to grow; the other troubles do not pass."""
    since = pod.unschedulable_since
    return since is None or view.now - since >= SATURATED_AFTER


def _pods_in(troubles: list[tuple[PodView, Trouble]]) -> tuple[str, str]:
    """The trouble that most pods have, in the words of one of them."""
    reasons = [trouble.reason for _, trouble in troubles]
    reason = max(sorted(set(reasons)), key=reasons.count)
    pod, trouble = min(
        ((pod, trouble) for pod, trouble in troubles if trouble.reason == reason),
        key=lambda pair: pair[0].name,
    )
    count = reasons.count(reason)
    return reason, f"{count} pod(s), such as {pod.name}: {trouble.message}"


def scaled_before(status: WorkerPoolStatus) -> Scaled:
    """What an earlier status says of the last change."""
    at = rfc3339(status.last_scale_time.timestamp()) if status.last_scale_time else None
    return Scaled(at, status.last_scale_reason)


def _rounded(value: float | None) -> float | None:
    """Three significant digits."""
    return None if value is None else float(f"{value:.3g}")
