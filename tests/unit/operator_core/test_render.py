"""What a WorkerPool is turned into."""

from __future__ import annotations

from typing import Any

import pytest

from taskyard_operator.api.workerpool import WorkerPoolSpec
from taskyard_operator.core.pod_template import BrokerRef, InvalidTemplateError, QueueRef, worker_arguments
from taskyard_operator.core.render import render, token_secret
from taskyard_operator.core.settings import settings_of, unsupported
from taskyard_operator.core.state import Target

QUEUES = (QueueRef("mail", "mail.dead", 5), QueueRef("reports"))
BROKER = BrokerRef("taskyard-broker", "url")


def spec(**fields: Any) -> WorkerPoolSpec:
    return WorkerPoolSpec.model_validate(
        {"app": "shop.tasks:app", "image": "shop:1", "queues": ["mail", "reports"], **fields}
    )


def made(**fields: Any) -> Target:
    restarted = fields.pop("restarted_at", None)
    return render("ns", "shop", "uid-1", spec(**fields), QUEUES, BROKER, restarted_at=restarted)


def template(**fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = made(**fields).deployment_body["spec"]["template"]
    return body


def worker(**fields: Any) -> dict[str, Any]:
    container: dict[str, Any] = template(**fields)["spec"]["containers"][0]
    return container


def with_spec(**pod: Any) -> dict[str, Any]:
    return {"podTemplate": {"spec": pod}}


def with_worker(**container: Any) -> dict[str, Any]:
    return with_spec(containers=[{"name": "worker", **container}])


def test_the_command_line() -> None:
    full = spec(
        prefetchMultiplier=2,
        maxTasksPerChild=100,
        maxMemoryPerChild="512Mi",
        timeLimit="10m",
        softTimeLimit="9m",
        logLevel="debug",
        extraArgs=["--without-heartbeat"],
    )
    assert worker_arguments(full, QUEUES) == [
        "-A",
        "shop.tasks:app",
        "worker",
        "-Q",
        "mail,reports",
        "-c",
        "4",
        "-P",
        "prefork",
        "--loglevel",
        "debug",
        "--prefetch-multiplier",
        "2",
        "--max-tasks-per-child",
        "100",
        "--max-memory-per-child",
        "524288",
        "--time-limit",
        "600",
        "--soft-time-limit",
        "540",
        "--without-heartbeat",
    ]
    assert worker_arguments(spec(pool="solo"), QUEUES)[5:9] == ["-c", "1", "-P", "solo"]


def test_the_environment_holds_no_secret_and_names_the_dead_letters() -> None:
    environment = {entry["name"]: entry for entry in worker()["env"]}
    assert environment["TASKYARD_BROKER_URL"]["valueFrom"]["secretKeyRef"] == {
        "name": "taskyard-broker",
        "key": "url",
    }
    assert environment["TASKYARD_DEAD_LETTERS"]["value"] == '{"mail":{"maxDeliveries":5,"queue":"mail.dead"}}'
    assert environment["TASKYARD_GRACE_SECONDS"]["value"] == "60"


def test_the_pod_meets_the_restricted_standard() -> None:
    pod, container = template()["spec"], worker()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["terminationGracePeriodSeconds"] == 60
    assert container["startupProbe"]["periodSeconds"] == 1


def test_the_deployment_never_says_how_many() -> None:
    target = made()
    body = target.deployment_body
    assert "replicas" not in body["spec"]
    assert body["metadata"]["name"] == f"shop-{target.revision}"
    labels = body["spec"]["template"]["metadata"]["labels"]
    selector = body["spec"]["selector"]["matchLabels"]
    assert set(selector) == {"taskyard.io/pool", "taskyard.io/revision", "taskyard.io/active"}
    assert selector.items() <= labels.items()


def test_children_belong_to_the_pool() -> None:
    bodies = [*made().children, token_secret("ns", "shop", "uid-1", "geheim")]
    assert [(body["kind"], body["metadata"]["name"]) for body in bodies] == [
        ("ServiceAccount", "shop-worker"),
        ("Service", "shop-worker-metrics"),
        ("PodDisruptionBudget", "shop-worker"),
        ("Secret", "shop-worker-token"),
    ]
    for body in bodies:
        assert body["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
        assert body["metadata"]["namespace"] == "ns"


def test_the_revision_changes_with_the_template_and_with_nothing_else() -> None:
    revision = made().revision
    assert made().revision == revision
    assert len(revision) == 10
    for other in (
        {"image": "shop:2"},
        {"concurrency": 5},
        {"restarted_at": "now"},
        with_worker(env=[{"name": "X", "value": "1"}]),
    ):
        assert made(**other).revision != revision
    for same in ({"replicas": 3}, {"autoscaling": {"maxReplicas": 3}}, {"rollout": {"maxSurge": 2}}):
        assert made(**same).revision == revision


def test_a_template_adds_what_it_wants_and_keeps_the_labels() -> None:
    body = template(
        podTemplate={
            "metadata": {"labels": {"team": "a", "taskyard.io/pool": "other"}, "annotations": {"x": "y"}},
            "spec": {
                "priorityClassName": "high",
                "containers": [{"name": "worker", "resources": {"limits": {"memory": "1Gi"}}}],
            },
        }
    )
    assert body["metadata"]["labels"]["team"] == "a"
    assert body["metadata"]["labels"]["taskyard.io/pool"] == "shop"
    assert body["metadata"]["annotations"] == {"x": "y"}
    assert body["spec"]["priorityClassName"] == "high"
    resources = body["spec"]["containers"][0]["resources"]
    assert resources["limits"] == {"memory": "1Gi"}
    assert resources["requests"]["cpu"] == "50m"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (with_spec(restartPolicy="Never"), "restartPolicy"),
        (with_spec(hostNetwork=True), "hostNetwork"),
        (with_worker(ports=[{"containerPort": 80, "hostPort": 80}]), "hostPort"),
        (with_worker(image=None), "must have an image"),
        (with_spec(containers=[{"name": "worker", "$patch": "delete"}]), "must keep the container"),
        (with_worker(ports=[{"containerPort": 9191, "$patch": "delete"}]), "9191"),
        (with_worker(env=[{"name": "TASKYARD_HTTP", "value": "off"}]), "TASKYARD_HTTP"),
        (with_worker(volumeMounts=[{"mountPath": "/var/run/taskyard/token", "name": "x"}]), "taskyard-token"),
        (with_spec(volumes=[{"name": "taskyard-podinfo", "emptyDir": {}}]), "taskyard-podinfo"),
        (with_spec(volumes={"a": 1}), "podTemplate.spec.volumes"),
    ],
)
def test_a_template_that_breaks_the_drain_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidTemplateError) as error:
        made(**fields)
    assert words in str(error.value)


def test_what_is_not_done_is_named() -> None:
    assert unsupported(spec()) is None
    for fields, field in (
        ({"runtime": "celery"}, "spec.runtime"),
        (
            {"autoscaling": {"schedules": [{"cron": "0 8 * * 1-5", "duration": "1h", "minReplicas": 2}]}},
            "spec.autoscaling.schedules",
        ),
    ):
        problem = unsupported(spec(**fields))
        assert problem is not None
        assert problem.reason == "NotSupported"
        assert field in problem.message


def test_settings() -> None:
    settings = settings_of(
        spec(
            replicas=3,
            concurrency=8,
            shutdown={"drainTimeout": "5m"},
            autoscaling={"backlogPerReplica": 20, "fallback": {"afterFailures": 2, "replicas": 4}},
        )
    )
    assert settings.manual == 3
    assert settings.slots_per_pod == 8
    assert settings.drain_timeout == 300.0
    assert settings.policy.start_within is None
    assert settings.policy.backlog_per_replica == 20
    assert (settings.policy.fallback_after, settings.policy.fallback_replicas) == (2, 4)
    assert settings_of(spec()).policy.start_within == 10.0
