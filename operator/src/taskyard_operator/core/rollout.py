"""How the wanted number of pods is divided among revisions while one takes over from another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskyard_operator.api.quantities import resolve_share
from taskyard_operator.core.state import DeploymentView, PodView, PoolSettings


@dataclass(frozen=True, slots=True)
class Division:
    """Replicas that each Deployment should have, by name, and how the newest revision does.

    `stuck` says, in words, what the newest revision has waited for longer than the progress deadline.
    """

    goals: Mapping[str, int]
    updating: bool
    stuck: str | None = None


def divide(
    wanted: int,
    *,
    target: str,
    revision: str,
    deployments: Sequence[DeploymentView],
    pods: Sequence[PodView],
    settings: PoolSettings,
    now: float,
) -> Division:
    """Divide `wanted` pods between the Deployment `target` and the older ones.

    The new revision comes first, within the surge; for each of its pods that consumes one old pod goes.
    Until one of them consumes it has proven nothing, so a growing load is served by more pods of the old
    revision; the same holds once it is stuck.
    """
    new_replicas = next((item.replicas for item in deployments if item.name == target), 0)
    olds = [item for item in deployments if item.name != target and not item.deleting]
    total_old = sum(item.replicas for item in olds)
    stuck = _stuck(revision, target, deployments, pods, settings, now, wanted)
    if wanted == 0 or total_old == 0:
        goals = {item.name: 0 for item in olds}
        return Division({**goals, target: wanted}, updating=total_old > 0, stuck=stuck)
    consuming_new = sum(1 for pod in pods if pod.revision == revision and pod.counts and pod.consuming)
    surge = resolve_share(settings.max_surge, wanted, round_up=True)
    unavailable = resolve_share(settings.max_unavailable, wanted, round_up=False)
    if surge == 0 and unavailable == 0:
        surge = 1  # neither more nor fewer than wanted: nothing could ever move
    keep = max(0, wanted - unavailable - consuming_new)
    unproven = consuming_new == 0 or stuck is not None
    if unproven:
        # The old revision goes on serving all that is wanted, if it serves anything. Without a surge it has
        # to make room first.
        serves = any(pod.consuming and pod.counts and pod.revision != revision for pod in pods)
        old_goal = wanted - consuming_new if serves else min(total_old, wanted)
        if surge == 0:
            old_goal = min(total_old, keep)
        room = wanted + surge - max(total_old, old_goal)
        new_goal = max(min(new_replicas, wanted), min(wanted, room))
    else:
        old_goal = min(total_old, keep)
        new_goal = max(min(new_replicas, wanted), min(wanted, wanted + surge - total_old))
    goals = {**_among_old(old_goal, olds, pods, may_grow=unproven), target: new_goal}
    replicas = {item.name: item.replicas for item in (*olds, *deployments)}
    # What still has to shrink counts until it has: the sum is never more than wanted and surge.
    budget = max(0, wanted + surge - total_old - new_replicas)
    for name in sorted(goals, key=lambda name: (name == target) == unproven):
        growth = goals[name] - replicas.get(name, 0)
        if growth > 0:
            goals[name] -= max(0, growth - budget)
            budget -= min(growth, budget)
    return Division(goals, updating=True, stuck=stuck)


def _among_old(
    goal: int, olds: Sequence[DeploymentView], pods: Sequence[PodView], *, may_grow: bool
) -> dict[str, int]:
    """Among the old: what never started goes at once, the one that works most shrinks last."""
    consuming = {item.name: 0 for item in olds}
    started = {item.name: 0 for item in olds}
    for item in olds:
        mine = [pod for pod in pods if pod.revision == item.revision and pod.counts]
        consuming[item.name] = sum(1 for pod in mine if pod.consuming)
        started[item.name] = sum(1 for pod in mine if pod.started)
    ranked = sorted(olds, key=lambda item: (-consuming[item.name], -item.replicas, item.name))
    goals: dict[str, int] = {}
    left = goal
    for rank, item in enumerate(ranked):
        most = item.replicas if rank == 0 else min(item.replicas, started[item.name])
        goals[item.name] = min(most, left)
        left -= goals[item.name]
    if may_grow and left > 0 and ranked:
        goals[ranked[0].name] += left
    return goals


def _stuck(
    revision: str,
    target: str,
    deployments: Sequence[DeploymentView],
    pods: Sequence[PodView],
    settings: PoolSettings,
    now: float,
    wanted: int,
) -> str | None:
    if wanted == 0:
        return None
    since = now - settings.progress_deadline
    late = [pod for pod in pods if pod.revision == revision and pod.counts and _never_worked(pod, since)]
    if late:
        trouble = next((pod.trouble for pod in late if pod.trouble), None)
        what = f": {trouble.message}" if trouble else ""
        return f"{len(late)} pod(s) of revision {revision} did not become ready in time{what}"
    for item in deployments:
        if (
            item.name == target
            and item.failure
            and item.failing_since is not None
            and item.failing_since <= since
        ):
            return f"pods of revision {revision} cannot be made: {item.failure.message}"
    return None


def _never_worked(pod: PodView, since: float) -> bool:
    if pod.consuming or pod.ready:
        return False
    if pod.worker is not None and not pod.worker.broker_connected:
        return False  # it works, the broker does not
    return max(pod.created, pod.not_ready_since or 0.0) <= since
