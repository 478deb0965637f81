"""What the API server lets in and what it refuses, with the words that the user reads."""

import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("crds")]

JSON = dict[str, Any]
Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]
NAMESPACE = f"manifests-{secrets.token_hex(3)}"
ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "taskyard"
VALUES = sorted(CHART.glob("ci/*-values.yaml"))


def helm(*args: str) -> str:
    command = [sys.executable, "-m", "tests.cluster", "bin", "helm"]
    binary = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True).stdout.strip()
    return subprocess.run([binary, *args], text=True, stdout=subprocess.PIPE, check=True).stdout


def taskqueue(name: str = "email", /, **spec: Any) -> JSON:
    return {
        "apiVersion": "taskyard.io/v1alpha1",
        "kind": "TaskQueue",
        "metadata": {"name": name},
        "spec": spec,
    }


def workerpool(name: str = "email", /, **spec: Any) -> JSON:
    needed = {"app": "shop.tasks:app", "image": "registry.example/shop:1.4.2", "queues": ["email"]}
    return {
        "apiVersion": "taskyard.io/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": name},
        "spec": {key: value for key, value in (needed | spec).items() if value is not None},
    }


SCHEDULE = {"cron": "0 8 * * 1-5", "timezone": "Asia/Seoul", "duration": "10h", "minReplicas": 4}

GOOD = {
    "queue: nothing set": taskqueue(),
    "queue: no spec": {key: value for key, value in taskqueue().items() if key != "spec"},
    "queue: everything set": taskqueue(
        queueName="email",
        broker={"secretRef": {"name": "broker", "key": "amqp"}},
        type="classic",
        maxPriority=10,
        messageTTL="24h",
        maxLength=1_000_000,
        overflow="reject-publish-dlx",
        bindings=[{"exchange": "tasks", "exchangeType": "topic", "routingKey": "email.#"}],
        deadLetter={"enabled": True, "queueName": "email.dead", "maxDeliveries": 5, "messageTTL": "7d"},
        deletionPolicy="Purge",
    ),
    "queue: quorum": taskqueue(type="quorum", maxLength=10, overflow="reject-publish"),
    "queue: odd name at the broker": taskqueue(queueName="{shop}:E-Mail/urgent.grün"),
    "queue: longest name": taskqueue("a" * 63),
    "pool: the least": workerpool(),
    "pool: everything set": workerpool(
        "a" * 47,
        runtime="taskyard",
        queues=["email", "reports"],
        pool="threads",
        concurrency=16,
        prefetchMultiplier=1,
        maxTasksPerChild=100,
        maxMemoryPerChild="512Mi",
        timeLimit="1h30m",
        softTimeLimit="85m",
        logLevel="debug",
        extraArgs=["--without-heartbeat"],
        autoscaling={
            "minReplicas": 0,
            "maxReplicas": 50,
            "startWithin": "10s",
            "backlogPerReplica": 20,
            "scaleDown": {"stabilization": "60s"},
            "scaleUp": {"maxStep": 100},
            "dryRun": False,
            "schedules": [SCHEDULE],
            "fallback": {"afterFailures": 5, "replicas": 2},
            "paused": False,
        },
        rollout={"maxSurge": "25%", "maxUnavailable": 0, "progressDeadline": "10m"},
        shutdown={"gracePeriod": "60s", "drainTimeout": "0s"},
        disruptionBudget={"maxUnavailable": "50%"},
        podTemplate={
            "metadata": {"labels": {"team": "shop"}},
            "spec": {
                "restartPolicy": "Always",
                "containers": [{"name": "worker", "env": [{"name": "A", "value": "b"}]}],
                "nodeSelector": {"disk": "fast"},
            },
        },
    ),
    "pool: manual": workerpool(replicas=2),
    "pool: manual, its autoscaling kept for later": workerpool(replicas=2, autoscaling={"maxReplicas": 5}),
    "pool: min is max": workerpool(autoscaling={"minReplicas": 3, "maxReplicas": 3}),
    "pool: limits are equal": workerpool(timeLimit="60s", softTimeLimit="1m"),
    "pool: room for a rollout below only": workerpool(rollout={"maxSurge": 0, "maxUnavailable": 1}),
    "pool: stock Celery": workerpool(runtime="celery", app="proj", pool="gevent"),
}

BAD: dict[str, tuple[JSON, str]] = {
    "queue: unknown type": (taskqueue(type="stream"), 'supported values: "classic", "quorum"'),
    "queue: reserved name": (taskqueue(queueName="amq.rpc"), "choose another queueName"),
    "queue: comma in the name": (taskqueue(queueName="a,b"), "spec.queueName"),
    "queue: space in the name": (taskqueue(queueName="a b"), "spec.queueName"),
    "queue: priorities in quorum": (
        taskqueue(type="quorum", maxPriority=5),
        "remove maxPriority, or set type",
    ),
    "queue: priority too high": (taskqueue(maxPriority=256), "less than or equal to 255"),
    "queue: overflow of nothing": (taskqueue(overflow="drop-head"), "set maxLength too, or remove overflow"),
    "queue: overflow that quorum has not": (
        taskqueue(type="quorum", maxLength=9, overflow="reject-publish-dlx"),
        "use reject-publish or drop-head",
    ),
    "queue: overflow to no dead letters": (
        taskqueue(maxLength=9, overflow="reject-publish-dlx", deadLetter={"enabled": False}),
        "set deadLetter.enabled to true",
    ),
    "queue: no such duration": (taskqueue(messageTTL="1 day"), "spec.messageTTL"),
    "queue: number for a duration": (taskqueue(messageTTL=60), "spec.messageTTL"),
    "queue: no time to live": (taskqueue(messageTTL="0s"), "must be more than 0s"),
    "queue: dead letters go round": (
        taskqueue(deadLetter={"queueName": "email"}),
        "choose another deadLetter.queueName",
    ),
    "queue: dead letters go round under another name": (
        taskqueue(queueName="mail", deadLetter={"queueName": "mail"}),
        "choose another deadLetter.queueName",
    ),
    "queue: no delivery": (taskqueue(deadLetter={"maxDeliveries": 0}), "greater than or equal to 1"),
    "queue: unknown deletion policy": (taskqueue(deletionPolicy="Orphan"), '"Retain", "Delete", "Purge"'),
    "queue: binding to nowhere": (taskqueue(bindings=[{"routingKey": "a"}]), "spec.bindings[0].exchange"),
    "queue: name too long": (taskqueue("a" * 64), "shorten it and use spec.queueName"),
    "queue: typing error": (taskqueue(maxLenght=5), 'unknown field "spec.maxLenght"'),
    "pool: no app": (workerpool(app=None), "spec.app"),
    "pool: app is a file": (workerpool(app="shop/tasks.py"), "spec.app"),
    "pool: no image": (workerpool(image=None), "spec.image"),
    "pool: no queues": (workerpool(queues=None), "spec.queues"),
    "pool: empty queues": (workerpool(queues=[]), "spec.queues"),
    "pool: a queue twice": (workerpool(queues=["a", "b", "a"]), "list each TaskQueue once"),
    "pool: unknown pool": (workerpool(pool="fork"), '"prefork", "threads", "asyncio"'),
    "pool: asyncio in Celery": (workerpool(runtime="celery", pool="asyncio"), "choose another pool"),
    "pool: no concurrency": (workerpool(concurrency=0), "greater than or equal to 1"),
    "pool: soft limit after the hard one": (
        workerpool(timeLimit="1m", softTimeLimit="61s"),
        "lower softTimeLimit or raise timeLimit",
    ),
    "pool: limit in days": (workerpool(timeLimit="1d"), "spec.timeLimit"),
    "pool: no time": (workerpool(timeLimit="0s"), "must be more than 0s"),
    "pool: memory without unit": (workerpool(maxMemoryPerChild="200000"), "spec.maxMemoryPerChild"),
    "pool: min over max": (
        workerpool(autoscaling={"minReplicas": 11}),
        "lower minReplicas or raise maxReplicas",
    ),
    "pool: no max": (workerpool(autoscaling={"maxReplicas": 0}), "greater than or equal to 1"),
    "pool: fallback over max": (
        workerpool(autoscaling={"maxReplicas": 2, "fallback": {"replicas": 3}}),
        "fallback.replicas is more than maxReplicas",
    ),
    "pool: fallback to nothing": (
        workerpool(autoscaling={"fallback": {"afterFailures": 3}}),
        "spec.autoscaling.fallback.replicas",
    ),
    "pool: schedule over max": (
        workerpool(autoscaling={"maxReplicas": 3, "schedules": [SCHEDULE]}),
        "a schedule's minReplicas is more than maxReplicas",
    ),
    "pool: schedule never": (
        workerpool(autoscaling={"schedules": [SCHEDULE | {"cron": ""}]}),
        "schedules[0].cron",
    ),
    "pool: schedule with four fields": (
        workerpool(autoscaling={"schedules": [SCHEDULE | {"cron": "0 8 * *"}]}),
        "schedules[0].cron",
    ),
    "pool: schedule nowhere": (
        workerpool(autoscaling={"schedules": [SCHEDULE | {"timezone": ""}]}),
        "schedules[0].timezone",
    ),
    "pool: schedule for no time": (
        workerpool(autoscaling={"schedules": [SCHEDULE | {"duration": "0m"}]}),
        "must be more than 0s",
    ),
    "pool: rollout that cannot move": (
        workerpool(rollout={"maxSurge": 0}),
        "maxSurge and maxUnavailable are both 0, so no rollout could begin: raise one of them",
    ),
    "pool: rollout that cannot move, in percent": (
        workerpool(rollout={"maxSurge": "0%", "maxUnavailable": "0%"}),
        "raise one of them",
    ),
    "pool: share over everything": (workerpool(rollout={"maxSurge": "150%"}), "spec.rollout.maxSurge"),
    "pool: share of nothing known": (
        workerpool(disruptionBudget={"maxUnavailable": "half"}),
        "maxUnavailable",
    ),
    "pool: pods that end": (
        workerpool(podTemplate={"spec": {"restartPolicy": "OnFailure"}}),
        "remove restartPolicy or set it to Always",
    ),
    "pool: name too long": (workerpool("a" * 48), "metadata.name has more than 47 characters: shorten it"),
    "pool: name that no Service can have": (workerpool("9mail"), "begin with a letter"),
    "pool: name with a dot": (workerpool("mail.eu"), "use only a-z, 0-9 and -"),
    "pool: negative replicas": (workerpool(replicas=-1), "greater than or equal to 0"),
    "pool: typing error": (
        workerpool(autoscaling={"maxReplica": 5}),
        'unknown field "spec.autoscaling.maxReplica"',
    ),
}

#: What is there, what is changed (None removes), and what the user reads; None where the change is allowed.
CHANGES: dict[str, tuple[JSON, JSON, str | None]] = {
    "the type": (taskqueue(), {"type": "quorum"}, "create a new TaskQueue and drain the old one"),
    "the queue's name": (taskqueue(queueName="a"), {"queueName": "b"}, "queueName cannot change"),
    "a queue's name that is not the default": (taskqueue(), {"queueName": "b"}, "queueName cannot change"),
    "the queue's name back to the default": (
        taskqueue(queueName="a"),
        {"queueName": None},
        "queueName cannot change",
    ),
    "the default name, written out": (taskqueue("same"), {"queueName": "same"}, None),
    "the highest priority": (taskqueue(maxPriority=5), {"maxPriority": 6}, "maxPriority cannot change"),
    "priorities, added": (taskqueue(), {"maxPriority": 6}, "maxPriority cannot change, come or go"),
    "priorities, removed": (taskqueue(maxPriority=5), {"maxPriority": None}, "maxPriority cannot change"),
    "what may change": (
        taskqueue(maxPriority=5),
        {"messageTTL": "1h", "maxLength": 5, "deletionPolicy": "Delete", "deadLetter": {"queueName": "x"}},
        None,
    ),
    "a pool's image": (workerpool(), {"image": "registry.example/shop:2"}, None),
    "a pool's minimum over its maximum": (
        workerpool(autoscaling={"maxReplicas": 3}),
        {"autoscaling": {"minReplicas": 4}},
        "lower minReplicas or raise maxReplicas",
    ),
}


@pytest.fixture(scope="module")
def kubectl_within(kubectl: Kubectl) -> Iterator[Kubectl]:
    """A namespace for the objects that have to exist before they can change."""

    def within(*args: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        return kubectl(*args, f"--namespace={NAMESPACE}", **more)

    kubectl("create", "namespace", NAMESPACE)
    yield within
    within("delete", "taskqueues,workerpools", "--all", "--wait=false", check=False)
    kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


@pytest.mark.parametrize("case", GOOD)
def test_a_good_manifest_is_accepted(kubectl: Kubectl, case: str) -> None:
    done = kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(GOOD[case]), check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr


@pytest.mark.parametrize("case", BAD)
def test_a_bad_manifest_is_refused_with_a_remedy(kubectl: Kubectl, case: str) -> None:
    manifest, message = BAD[case]
    done = kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(manifest), check=False)
    assert done.returncode, f"it was accepted: {done.stdout}"
    assert message in done.stderr


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_is_accepted_or_refused_with_a_remedy(kubectl_within: Kubectl, case: str) -> None:
    before, change, message = CHANGES[case]
    name = f"change-{list(CHANGES).index(case)}" if before["metadata"]["name"] != "same" else "same"
    kubectl_within("create", "-f", "-", input=json.dumps({**before, "metadata": {"name": name}}))
    done = kubectl_within(
        "patch", before["kind"].lower(), name, "--type=merge", "--dry-run=server", "--patch",
        json.dumps({"spec": change}), check=False,
    )  # fmt: skip
    if message is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode, f"it was accepted: {done.stdout}"
        assert message in done.stderr


def test_defaults_are_filled_in_by_the_api_server(kubectl: Kubectl) -> None:
    def spec(manifest: JSON) -> JSON:
        done = kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(manifest))
        filled: JSON = json.loads(done.stdout)["spec"]
        return filled

    assert spec(taskqueue()) == {
        "broker": {"secretRef": {"name": "taskyard-broker", "key": "url"}},
        "deadLetter": {"enabled": True, "maxDeliveries": 5},
        "deletionPolicy": "Retain",
        "type": "classic",
    }
    pool = spec(workerpool(autoscaling={}))
    assert pool["shutdown"] == {"gracePeriod": "1m", "drainTimeout": "0s"}
    assert pool["autoscaling"]["startWithin"] == "10s"
    assert "autoscaling" not in spec(workerpool()), "an autoscaling that nobody asked for would confuse"
    assert "replicas" not in spec(workerpool())


def test_kubectl_scale_takes_a_pool_over_from_its_autoscaling(kubectl_within: Kubectl) -> None:
    manifest = workerpool("scaled", autoscaling={"maxReplicas": 5})
    kubectl_within("create", "-f", "-", input=json.dumps(manifest))
    kubectl_within("scale", "workerpool/scaled", "--replicas=3")
    found = json.loads(kubectl_within("get", "wp", "scaled", "-o", "json").stdout)
    assert found["spec"]["replicas"] == 3
    scale = json.loads(kubectl_within("get", "wp", "scaled", "--subresource=scale", "-o", "json").stdout)
    assert scale["kind"] == "Scale"
    assert scale["spec"]["replicas"] == 3


def test_the_category_lists_both_kinds(kubectl_within: Kubectl) -> None:
    kubectl_within("create", "-f", "-", input=json.dumps(taskqueue("listed")))
    kubectl_within("create", "-f", "-", input=json.dumps(workerpool("listed")))
    listed = kubectl_within("get", "taskyard", "-o", "name").stdout
    assert "taskqueue.taskyard.io/listed" in listed
    assert "workerpool.taskyard.io/listed" in listed


@pytest.fixture(scope="module")
def chart_namespaces(kubectl: Kubectl) -> Iterator[dict[str, str]]:
    """The namespaces that the chart's values speak of, under names of this test run's own."""
    made = {name: f"{NAMESPACE}-{name}" for name in ("system", "shop", "billing")}
    for namespace in made.values():
        kubectl("create", "namespace", namespace)
        kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/warn=restricted")
    yield made
    kubectl("delete", "namespace", *made.values(), "--wait=false", check=False)


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_the_api_server_takes_what_the_chart_makes(
    kubectl: Kubectl, chart_namespaces: dict[str, str], values: Path
) -> None:
    """Every field is known, and Pod Security's restricted profile has nothing to warn of."""
    text = helm("template", "taskyard", str(CHART), "--namespace", "system", "--values", str(values))
    by_namespace: dict[str, list[JSON]] = {}
    for body in yaml.safe_load_all(text):
        if body and body["kind"] != "Pod":
            namespace = chart_namespaces[body["metadata"].pop("namespace", "system")]
            by_namespace.setdefault(namespace, []).append(body)
    for namespace, objects in by_namespace.items():
        done = kubectl(
            "apply", f"--namespace={namespace}", "--server-side", "--force-conflicts", "--dry-run=server",
            "--validate=strict", "-f", "-", input=yaml.safe_dump_all(objects), check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", "a warning"
        assert done.stdout.count("(server dry run)") == len(objects)


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("tq", "NAME QUEUE READY UNACKED DEAD CONSUMERS RATE/S STATUS AGE"),
        ("wp", "NAME DESIRED READY BUSY DRAINING BACKLOG LATENCY STATUS AGE"),
    ],
)
def test_columns(kubectl_within: Kubectl, kind: str, columns: str) -> None:
    manifest = (taskqueue if kind == "tq" else workerpool)("columns")
    kubectl_within("create", "-f", "-", input=json.dumps(manifest))
    header, _ = kubectl_within("get", kind, "columns").stdout.splitlines()
    assert header.split() == columns.split()
