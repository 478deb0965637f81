"""From the API server's JSON to values, and from values to a status."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from taskyard_operator.api.workerpool import WorkerPoolStatus
from taskyard_operator.core.demand import QueueReading
from taskyard_operator.core.observation import (
    deployment_view,
    pod_view,
    queue_reading,
    rfc3339,
    unix,
    worker_state,
)
from taskyard_operator.core.planner import PoolMemory, plan
from taskyard_operator.core.pool_status import Scaled, patch_of, status_of
from taskyard_operator.core.queue import BrokerFailure, QueueDepth, QueueSample
from taskyard_operator.core.scaler import Policy
from taskyard_operator.core.state import DeploymentView, PodView, PoolSettings, PoolView, Target, Trouble

NOW = 1_700_000_000.0


def pod_body(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "p",
            "uid": "u",
            "resourceVersion": "7",
            "creationTimestamp": rfc3339(NOW),
            "labels": {"taskyard.io/active": "true", "taskyard.io/revision": "r1"},
            "ownerReferences": [{"kind": "ReplicaSet", "uid": "rs", "controller": True}],
        },
        "spec": {"nodeName": "n"},
        "status": {"phase": "Pending", **status},
    }


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    entry = {"name": "worker", "state": {"waiting": {"reason": reason, "message": message}}, **more}
    return {"containerStatuses": [{"name": "sidecar", "state": {"running": {}}}, entry]}


def test_a_running_pod() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(NOW + 4)}
    view = pod_view(
        pod_body(
            phase="Running",
            podIP="10.0.0.7",
            conditions=[ready],
            containerStatuses=[
                {"name": "worker", "state": {"running": {"startedAt": "…"}}, "restartCount": 2}
            ],
        )
    )
    assert view.counts
    assert view.started
    assert view.controlled
    assert (view.created, view.ready_since, view.restarts, view.ip) == (NOW, NOW + 4, 2, "10.0.0.7")
    assert view.silent  # it runs, and nobody has asked it


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (waiting("ImagePullBackOff", "no such image"), "ImagePullFailed", "ImagePullBackOff: no such image"),
        (
            waiting("CreateContainerConfigError", "secret x not found"),
            "ContainerFailed",
            "secret x not found",
        ),
        (
            waiting(
                "CrashLoopBackOff",
                lastState={"terminated": {"exitCode": 1, "message": "line one\nno module shop\n"}},
            ),
            "CrashLoop",
            "exit code 1: no module shop",
        ),
    ],
)
def test_what_keeps_a_container_from_working(status: dict[str, Any], reason: str, words: str) -> None:
    trouble = pod_view(pod_body(**status)).trouble
    assert trouble is not None
    assert trouble.reason == reason
    assert words in trouble.message
    assert pod_view(pod_body(**waiting("ContainerCreating"))).trouble is None


def test_a_pod_that_no_node_takes() -> None:
    body = pod_body(
        conditions=[
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "0/3 nodes",
                "lastTransitionTime": rfc3339(NOW),
            }
        ]
    )
    del body["spec"]["nodeName"]
    view = pod_view(body)
    assert view.unplaceable
    assert view.unschedulable_since == NOW
    assert view.trouble == Trouble("Unschedulable", "0/3 nodes")


def test_a_quota_is_told_from_other_refusals() -> None:
    def body(message: str) -> dict[str, Any]:
        failing = {"type": "ReplicaFailure", "status": "True", "message": message}
        return {
            "metadata": {"name": "d", "uid": "u", "resourceVersion": "1"},
            "spec": {"replicas": 3},
            "status": {"conditions": [failing]},
        }

    quota = deployment_view(body('pods "x" is forbidden: exceeded quota: q')).failure
    other = deployment_view(body("admission webhook denied it")).failure
    assert quota is not None
    assert other is not None
    assert (quota.reason, other.reason) == ("QuotaExceeded", "CreateFailed")


@pytest.mark.parametrize(
    "answer", [None, [], 3, {}, {"state": "running", "consuming": True, "slots": "many"}]
)
def test_what_is_no_state(answer: Any) -> None:
    with pytest.raises(ValueError):
        worker_state(answer)


def test_queues_are_summed_and_unknown_is_not_zero() -> None:
    one = QueueSample(QueueDepth(3, 2, publish_rate=1.0, oldest_age=4.0), NOW - 1)
    two = QueueSample(QueueDepth(5, None), NOW - 2)
    both = queue_reading([one, two], NOW)
    assert both == QueueReading(8, None, NOW - 2, None, 4.0)
    assert queue_reading([one, None], NOW) is None
    assert queue_reading([one, QueueSample(None, NOW)], NOW) is None
    assert queue_reading([replace(one, at=NOW - 100)], NOW) is None
    assert queue_reading([replace(one, failure=BrokerFailure("Unreachable", "x"), failures=1)], NOW) is None


def test_times() -> None:
    assert unix("2023-11-14T22:13:20Z") == NOW
    assert rfc3339(NOW) == "2023-11-14T22:13:20Z"
    assert unix(None) is None
    assert unix("yesterday") is None


def view(pods: tuple[PodView, ...] = (), **fields: Any) -> PoolView:
    settings = fields.pop("settings", PoolSettings(Policy()))
    return PoolView(
        "ns",
        "pool",
        NOW,
        settings,
        fields.pop("target", Target("r1", "pool-r1", digest="d")),
        deployments=(DeploymentView("pool-r1", "u", "1", "r1", len(pods)),),
        pods=pods,
        queue=fields.pop("queue", QueueReading(0, 0, NOW)),
        **fields,
    )


def status(seen: PoolView, before: WorkerPoolStatus | None = None) -> WorkerPoolStatus:
    decision = plan(seen, PoolMemory()).decision
    return status_of(seen, decision, before or WorkerPoolStatus(), scaled=Scaled(None, None))


def reasons(of: WorkerPoolStatus) -> dict[str, tuple[str, str]]:
    return {item.type: (item.status, item.reason) for item in of.conditions}


def broken(name: str, reason: str) -> PodView:
    return PodView(
        name,
        f"u-{name}",
        "1",
        "r1",
        active=True,
        created=NOW - 5,
        started=False,
        trouble=Trouble(reason, "words"),
    )


def test_an_empty_pool_is_available() -> None:
    assert reasons(status(view())) == {
        "Available": ("True", "ScaledToZero"),
        "Progressing": ("False", "RolloutComplete"),
        "ScalingActive": ("True", "Autoscaling"),
        "ScalingLimited": ("False", "WithinLimits"),
        "Degraded": ("False", "AsExpected"),
    }


def test_the_trouble_of_most_pods_is_told() -> None:
    pods = (broken("a", "CrashLoop"), broken("b", "ImagePullFailed"), broken("c", "CrashLoop"))
    found = status(view(pods, settings=PoolSettings(Policy(), manual=3)))
    assert reasons(found)["Degraded"] == ("True", "CrashLoop")
    assert reasons(found)["Available"] == ("False", "WorkersNotReady")
    degraded = next(item for item in found.conditions if item.type == "Degraded")
    assert degraded.message == "2 pod(s), such as a: words"


def test_stale_figures_are_said_with_their_reason() -> None:
    seen = view(queue=None, failures=3, broker_trouble=Trouble("Unreachable", "no route to rabbit"))
    found = status(seen)
    assert reasons(found)["ScalingActive"] == ("False", "MetricsStale")
    assert "no route to rabbit" in next(c.message for c in found.conditions if c.type == "ScalingActive")


def test_a_transition_time_moves_only_with_the_status() -> None:
    first = status(view())
    later = replace(view((broken("a", "CrashLoop"),)), now=NOW + 60)
    second = status(later, first)
    times = {item.type: item.last_transition_time.timestamp() for item in second.conditions}
    assert times["Degraded"] == NOW + 60
    assert times["Progressing"] == NOW


def test_the_status_is_written_only_if_it_changed_and_figures_rarely() -> None:
    first = status(view(queue=QueueReading(3, 0, NOW)))
    before = first.to_json()
    assert patch_of(before, first, written_at=NOW, now=NOW + 100) is None
    moved = first.model_copy(update={"backlog": 7})
    assert patch_of(before, moved, written_at=NOW, now=NOW + 5) is None
    assert patch_of(before, moved, written_at=NOW, now=NOW + 11) == {"backlog": 7}
    # The last message is news.
    done = first.model_copy(update={"backlog": 0})
    assert patch_of(before, done, written_at=NOW, now=NOW + 2) == {"backlog": 0}
    more = moved.model_copy(update={"replicas": 2})
    assert patch_of(before, more, written_at=NOW, now=NOW + 1) == {"backlog": 7, "replicas": 2}
    gone = first.model_copy(update={"backlog": None})
    assert patch_of(before, gone, written_at=NOW, now=NOW + 11) == {"backlog": None}
