"""What of a WorkerPool's spec the planner needs, and what of it this operator does not do yet."""

from __future__ import annotations

from collections.abc import Iterator

from taskyard_operator.api.names import PoolReason
from taskyard_operator.api.workerpool import Runtime, WorkerPoolSpec
from taskyard_operator.core.scaler import Policy
from taskyard_operator.core.state import PoolSettings, Problem


def settings_of(spec: WorkerPoolSpec) -> PoolSettings:
    """Translate a spec."""
    scaling = spec.effective_autoscaling
    fallback = scaling.fallback
    return PoolSettings(
        policy=Policy(
            min_replicas=scaling.min_replicas,
            max_replicas=scaling.max_replicas,
            start_within=None if scaling.backlog_per_replica else float(scaling.start_within),
            backlog_per_replica=scaling.backlog_per_replica,
            stabilization=float(scaling.scale_down.stabilization),
            max_step=scaling.scale_up.max_step,
            fallback_after=fallback.after_failures if fallback else 1,
            fallback_replicas=fallback.replicas if fallback else None,
        ),
        manual=spec.replicas,
        paused=scaling.paused,
        dry_run=scaling.dry_run,
        max_surge=spec.rollout.max_surge,
        max_unavailable=spec.rollout.max_unavailable,
        progress_deadline=float(spec.rollout.progress_deadline),
        drain_timeout=float(spec.shutdown.drain_timeout),
        slots_per_pod=spec.slots,
    )


def unsupported(spec: WorkerPoolSpec) -> Problem | None:
    """What the spec asks for that this operator does not do; nothing of a spec is ever silently ignored."""
    found = list(_unsupported(spec))
    return Problem(PoolReason.NOT_SUPPORTED, "; ".join(found)) if found else None


def _unsupported(spec: WorkerPoolSpec) -> Iterator[str]:
    if spec.runtime is not Runtime.TASKYARD:
        yield f"spec.runtime: {spec.runtime.value} is not supported yet: use taskyard"
    if spec.autoscaling is not None and spec.autoscaling.schedules:
        yield "spec.autoscaling.schedules is not supported yet: remove it, and set minReplicas where needed"
