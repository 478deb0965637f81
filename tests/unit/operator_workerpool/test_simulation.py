"""Whatever happens, in whatever order, and wherever the operator dies: no task is interrupted, and it settles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskyard_operator.core.actions import Action
from taskyard_operator.core.planner import plan
from tests.unit.operator_workerpool.simulation import (
    NAMESPACE,
    POOL,
    Cluster,
    Operator,
    change,
    delete,
    make,
)

MAX = 8
SCALING = {"maxReplicas": MAX, "scaleDown": {"stabilization": "3s"}}


@dataclass(frozen=True)
class Step:
    """One thing that happens; `what` says what the value means."""

    what: str
    value: Any = None


def steps() -> st.SearchStrategy[Step]:
    return st.one_of(
        st.builds(Step, st.just("publish"), st.tuples(st.integers(1, 30), st.sampled_from([0.1, 2.0, 20.0]))),
        st.builds(Step, st.just("run"), st.sampled_from([0.2, 1.0, 3.0, 10.0])),
        st.builds(Step, st.just("image"), st.sampled_from(["shop:1", "shop:2", "shop:3"])),
        st.builds(Step, st.just("replicas"), st.one_of(st.none(), st.integers(0, MAX))),
        st.builds(Step, st.just("flap")),
        st.builds(Step, st.just("broker"), st.booleans()),
        st.builds(Step, st.just("silent")),
        st.builds(Step, st.just("die"), st.tuples(st.integers(1, 12), st.booleans())),
        st.builds(Step, st.just("evict")),
    )


def do(operator: Operator, step: Step) -> None:
    cluster = operator.cluster
    match step.what:
        case "publish":
            count, seconds = step.value
            cluster.publish(count, seconds)
        case "run":
            watched(operator, step.value)
        case "image":
            change(cluster, image=step.value)
        case "replicas":
            change(cluster, replicas=step.value)
        case "flap":
            for pod in cluster.pods(active=True)[:2]:
                cluster.flap(pod["metadata"]["name"])
        case "broker":
            cluster.failing = "Unreachable" if step.value else None
        case "silent":
            names = [pod["metadata"]["name"] for pod in cluster.pods()]
            cluster.unreachable = (
                {cluster.random.choice(names)} if names and not cluster.unreachable else set()
            )
        case "die":
            after, before = step.value
            operator.api.dies_at, operator.api.dies_before = operator.api.writes + after, before
        case "evict":
            # Somebody else deletes a pod: what it did is not on the operator.
            for pod in cluster.pods(active=True)[:1]:
                cluster.allowed_kills.add(pod["metadata"]["name"])
                cluster.delete_pod(pod, "an eviction")


def watched(operator: Operator, seconds: float) -> None:
    """Run in small pieces, looking at what must always hold."""
    cluster = operator.cluster
    until = cluster.now + seconds
    while cluster.now < until:
        operator.run(min(0.5, until - cluster.now + 0.01))
        assert cluster.kills == []
        # With a surge of a quarter; never more than is allowed, however many operators died on the way.
        assert cluster.replicas <= MAX + 2


def planned(operator: Operator) -> tuple[Action, ...]:
    """What a pass would do now."""
    import asyncio

    from taskyard_operator.reconcile.workerpool_observe import observe
    from tests.unit.operator_workerpool.simulation import ApiServer, Depths, PodNetwork

    cluster = operator.cluster
    api = ApiServer(cluster)
    assert cluster.pool is not None
    seen = asyncio.run(observe(api, PodNetwork(api), Depths(cluster), cluster.pool, cluster.now))
    kept = operator._reconciler._kept[NAMESPACE, POOL]
    return plan(seen.view, kept.memory).actions


def settle(operator: Operator, *, replicas: int, limit: float = 600.0) -> None:
    """Heal everything and let it come to rest."""
    cluster = operator.cluster
    operator.api.dies_at = None
    cluster.failing, cluster.unreachable = None, set()
    until = cluster.now + limit
    while cluster.now < until:
        watched(operator, 5.0)
        resting = not cluster.queue and all(worker.busy == 0 for worker in cluster.workers.values())
        alone = len(cluster.table("deployments")) == 1
        if resting and alone and len(cluster.pods()) == cluster.replicas == replicas:
            if not planned(operator):
                return
    pods = [(pod["metadata"]["name"], pod["metadata"]["labels"], pod["status"]) for pod in cluster.pods()]
    raise AssertionError(
        f"it did not settle: {len(cluster.queue)} wait, {cluster.replicas}, {planned(operator)}, {pods}"
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), script=st.lists(steps(), min_size=3, max_size=25))
def test_no_task_is_ever_interrupted_and_it_settles(seed: int, script: list[Step]) -> None:
    cluster = Cluster(seed)
    operator = make(cluster, autoscaling=SCALING)
    for step in script:
        do(operator, step)
        watched(operator, 0.3)
    change(cluster, replicas=None)
    settle(operator, replicas=0)
    assert cluster.consuming() == 0


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), script=st.lists(steps(), min_size=1, max_size=10))
def test_deleting_the_pool_waits_for_every_task(seed: int, script: list[Step]) -> None:
    cluster = Cluster(seed)
    operator = make(cluster, autoscaling=SCALING)
    cluster.publish(6, 15.0)
    watched(operator, 4.0)
    for step in script:
        do(operator, step)
        watched(operator, 0.3)
    delete(cluster)
    operator.api.dies_at = None
    cluster.failing, cluster.unreachable = None, set()
    for _ in range(80):
        if cluster.pool is None:
            break
        watched(operator, 3.0)
    assert cluster.pool is None
    cluster.advance(3.0)
    assert cluster.kills == []
    assert cluster.table("deployments") == {}
    assert cluster.pods() == []
