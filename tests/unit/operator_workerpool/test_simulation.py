"""Whatever happens, and wherever the operator dies: no task is interrupted, and the pool settles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskyard_operator.api import names
from taskyard_operator.core.actions import Action
from taskyard_operator.core.planner import plan
from taskyard_operator.core.render import token_secret
from tests.unit.operator_workerpool.simulation import (
    NAMESPACE,
    POOL,
    Cluster,
    Lags,
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


def watched(operator: Operator, seconds: float, *, most: int = MAX + 2) -> None:
    """Run in small pieces, looking at what must always hold."""
    cluster = operator.cluster
    until = cluster.now + seconds
    while cluster.now < until:
        operator.run(min(0.5, until - cluster.now + 0.01))
        assert cluster.kills == []
        # With a surge of a quarter; never more than is allowed, however many operators died on the way.
        assert cluster.replicas <= most


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
        still = len(cluster.pods()) == cluster.replicas == replicas
        if resting and alone and still and not planned(operator):
            return
    pods = [(pod["metadata"]["name"], pod["metadata"]["labels"], pod["status"]) for pod in cluster.pods()]
    raise AssertionError(
        f"it did not settle: {len(cluster.queue)} wait, {cluster.replicas}, {planned(operator)}, {pods}"
    )


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


@settings(max_examples=11, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


def running(cluster: Cluster, revision: str | None = None) -> int:
    """Workers that consume, as they themselves see it."""
    found = 0
    for pod in cluster.pods():
        worker = cluster.workers.get(pod["metadata"]["uid"])
        mine = revision is None or pod["metadata"]["labels"]["taskyard.io/revision"] == revision
        found += bool(mine and worker and not worker.drained and not worker.stopping)
    return found


def until(operator: Operator, what: Any, *, limit: float = 60.0) -> None:
    """Run until something holds."""
    end = operator.cluster.now + limit
    while not what():
        assert operator.cluster.now < end, "it did not happen in time"
        watched(operator, 0.2)


@settings(max_examples=11, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_from_zero_straight_to_what_is_needed(seed: int) -> None:
    cluster = Cluster(seed)
    operator = make(cluster, autoscaling=SCALING)
    watched(operator, 8.0)
    assert cluster.replicas == 0
    cluster.publish(60, 10.0)
    sent = cluster.now
    until(operator, lambda: cluster.replicas > 0)
    # The poll is a second old at most, and at zero the pool is looked at at least every five.
    assert cluster.now - sent < 7.0
    assert cluster.replicas == MAX


@settings(max_examples=14, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    lags=st.sampled_from(
        [
            Lags(pods=(0.3, 0.6), sets=(0.0, 0.0)),  # it hears of the lower count before the label is off
            Lags(pods=(0.0, 0.0), sets=(0.3, 0.6)),  # it hears of the label before the higher count
        ]
    ),
)
def test_a_replicaset_that_hears_things_in_another_order_kills_nobody(seed: int, lags: Lags) -> None:
    cluster = Cluster(seed, lags=lags)
    operator = make(cluster, spec={"replicas": 4})
    until(operator, lambda: running(cluster) == 4)
    cluster.publish(8, 90.0)
    watched(operator, 4.0)
    for replicas in (1, 4, 2, 3, 0, 4):
        change(cluster, replicas=replicas)
        watched(operator, 6.0)
    assert cluster.kills == []


@settings(max_examples=16, deadline=None)
@given(seed=st.integers(0, 2**32), least=st.integers(0, 3))
def test_draining_workers_come_back_before_any_is_made(seed: int, least: int) -> None:
    cluster = Cluster(seed)
    operator = make(cluster, spec={"replicas": 4})
    until(operator, lambda: running(cluster) == 4)
    cluster.publish(8, 60.0)
    watched(operator, 4.0)
    before = {pod["metadata"]["name"] for pod in cluster.pods()}
    change(cluster, replicas=least)
    until(operator, lambda: running(cluster) == least and cluster.replicas == least)
    watched(operator, 3.0)
    change(cluster, replicas=4)
    changed = cluster.now
    until(operator, lambda: running(cluster) == 4)
    assert cluster.now - changed < 2.0
    until(operator, lambda: len(cluster.pods(active=True)) == 4 and cluster.replicas == 4)
    watched(operator, 5.0)
    assert {pod["metadata"]["name"] for pod in cluster.pods()} == before
    assert all(
        [owner["kind"] for owner in pod["metadata"]["ownerReferences"]] == ["ReplicaSet"]
        for pod in cluster.pods()
    )


@settings(max_examples=16, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    wanted=st.integers(1, 6),
    surge=st.sampled_from(["25%", "100%", 1]),
    busy=st.booleans(),
    dies=st.one_of(st.none(), st.tuples(st.integers(1, 25), st.booleans())),
)
def test_a_rollout_never_goes_below_what_was_ready(
    seed: int, wanted: int, surge: str | int, busy: bool, dies: tuple[int, bool] | None
) -> None:
    cluster = Cluster(seed)
    operator = make(cluster, spec={"replicas": wanted, "rollout": {"maxSurge": surge}})
    until(operator, lambda: running(cluster) == wanted)
    if busy:
        cluster.publish(wanted * 3, 25.0)
    watched(operator, 2.0)
    change(cluster, image="shop:2")
    if dies is not None:
        operator.api.dies_at, operator.api.dies_before = operator.api.writes + dies[0], dies[1]
    end = cluster.now + 300.0
    while images(cluster) != ["shop:2"] * wanted or len(cluster.table("deployments")) != 1:
        watched(operator, 0.1, most=2 * wanted if surge == "100%" else wanted + 2)
        assert running(cluster) >= wanted
        assert cluster.now < end


def images(cluster: Cluster) -> list[str]:
    return [pod["spec"]["containers"][0]["image"] for pod in cluster.pods()]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_version_that_cannot_start_leaves_the_old_one_working_and_scaled(seed: int) -> None:
    cluster = Cluster(seed)
    cluster.broken_images.add("shop:broken")
    operator = make(
        cluster, autoscaling={**SCALING, "minReplicas": 2}, spec={"rollout": {"progressDeadline": "20s"}}
    )
    until(operator, lambda: running(cluster) == 2)
    change(cluster, image="shop:broken")
    watched(operator, 40.0)
    assert running(cluster) == 2
    conditions = status_conditions(cluster)
    assert conditions["Progressing"]["reason"] == "ProgressDeadlineExceeded"
    assert conditions["Degraded"]["reason"] == "ImagePullFailed"
    # The old one follows the load meanwhile.
    cluster.publish(40, 5.0)
    until(operator, lambda: running(cluster) > 4)
    # And the way back is no rollout at all.
    change(cluster, image="shop:1")
    until(operator, lambda: len(cluster.table("deployments")) == 1, limit=120.0)
    assert status_conditions(cluster)["Degraded"]["status"] == "False"


@settings(max_examples=11, deadline=None)
@given(seed=st.integers(0, 2**32), failures=st.integers(1, 40))
def test_stale_figures_never_scale_down(seed: int, failures: int) -> None:
    cluster = Cluster(seed)
    operator = make(cluster, autoscaling=SCALING)
    cluster.publish(30, 4.0)
    until(operator, lambda: running(cluster) >= 6)
    before = cluster.replicas
    cluster.failing = "Unreachable"
    for _ in range(failures):
        watched(operator, 1.0)
        assert cluster.replicas >= before
    if failures > 3:
        assert status_conditions(cluster)["ScalingActive"]["reason"] == "MetricsStale"


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_new_operator_makes_no_wrong_step(seed: int) -> None:
    cluster = Cluster(seed)
    operator = make(cluster, autoscaling=SCALING)
    for _ in range(60):
        cluster.publish(2, 3.0)
        watched(operator, 1.0)
    before = cluster.replicas
    operator.restart()
    for _ in range(10):
        cluster.publish(2, 3.0)
        watched(operator, 1.0)
        assert before <= cluster.replicas <= before + 1


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_drain_timeout_is_the_only_thing_that_stops_a_busy_worker(seed: int) -> None:
    cluster = Cluster(seed)
    operator = make(cluster, spec={"replicas": 2, "shutdown": {"drainTimeout": "10s"}})
    until(operator, lambda: running(cluster) == 2)
    cluster.publish(4, 500.0)
    watched(operator, 3.0)
    names = {pod["metadata"]["name"] for pod in cluster.pods()}
    change(cluster, replicas=1)
    watched(operator, 9.0)
    assert {pod["metadata"]["name"] for pod in cluster.pods()} == names
    cluster.allowed_kills |= names
    watched(operator, 8.0)
    assert len(cluster.pods()) == 1
    assert [reason for reason, _ in cluster.events].count("DrainTimedOut") >= 1


def test_a_worker_that_does_not_answer_is_left_alone() -> None:
    cluster = Cluster(5)
    operator = make(cluster, spec={"replicas": 3})
    until(operator, lambda: running(cluster) == 3)
    cluster.publish(1, 300.0)
    watched(operator, 3.0)
    busy = next(
        pod["metadata"]["name"] for pod in cluster.pods() if cluster.workers[pod["metadata"]["uid"]].busy
    )
    cluster.unreachable = {busy}
    change(cluster, replicas=0)
    watched(operator, 30.0)
    assert [pod["metadata"]["name"] for pod in cluster.pods()] == [busy]
    cluster.unreachable = set()
    watched(operator, 10.0)
    assert cluster.replicas == 0  # it drains now
    assert len(cluster.pods(active=False)) == 1


def test_the_token_of_a_former_pool_of_the_name_is_not_for_this_ones_pods() -> None:
    cluster = Cluster(1)
    operator = make(cluster, spec={"replicas": 1})
    former = token_secret(NAMESPACE, POOL, "uid-of-the-former", "")
    cluster.put("secrets", {**former, "data": {names.TOKEN_KEY: "Zm9ybWVy"}}, new=True)
    until(operator, lambda: running(cluster) == 1)
    secret = cluster.table("secrets")[f"{POOL}-worker-token"]
    # The garbage collector would take the former one away before the pods have mounted it.
    assert cluster.pool is not None
    assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [
        cluster.pool["metadata"]["uid"]
    ]
    assert secret["data"][names.TOKEN_KEY] != "Zm9ybWVy"


def test_what_is_not_supported_is_said_and_nothing_is_made() -> None:
    cluster = Cluster(1)
    operator = make(cluster, spec={"runtime": "celery"})
    cluster.publish(5, 1.0)
    watched(operator, 10.0)
    condition = status_conditions(cluster)["Degraded"]
    assert condition["reason"] == "NotSupported"
    assert "spec.runtime" in condition["message"]
    assert cluster.table("deployments") == {}


def test_dry_run_and_paused_only_recommend() -> None:
    for field in ("dryRun", "paused"):
        cluster = Cluster(2)
        operator = make(cluster, autoscaling={**SCALING, field: True})
        cluster.publish(20, 5.0)
        watched(operator, 10.0)
        assert cluster.replicas == 0
        assert cluster.pool is not None
        assert cluster.pool["status"]["desiredReplicas"] == (5 if field == "dryRun" else 0)


def test_a_missing_queue_is_named() -> None:
    cluster = Cluster(1)
    operator = make(cluster, spec={"queues": ["q", "mail"]})
    watched(operator, 3.0)
    condition = status_conditions(cluster)["Degraded"]
    assert condition["reason"] == "QueueNotFound"
    assert "mail" in condition["message"]


def status_conditions(cluster: Cluster) -> dict[str, Any]:
    assert cluster.pool is not None
    return {item["type"]: item for item in cluster.pool["status"]["conditions"]}
