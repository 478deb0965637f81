"""``python -m tests.e2e.prepare``: the cluster of the end-to-end tests, with the operator and two brokers.

Every step may be repeated: a test run on its own brings up what is missing and keeps the rest.
"""

import hashlib
import os
import sys

from tests.harness.install import (
    RELEASE,
    ROOT,
    SYSTEM,
    build_images,
    cluster,
    install_chart,
    kubectl,
    operator_values,
)
from tests.harness.kubectl import JSON, Kubectl

BROKERS = "brokers"
#: The brokers live in the test cluster only, whatever they hold is made up: their passwords are no secrets.
USER = PASSWORD = "taskyard"
PORTS = {"redis": {"redis": 6379}, "rabbitmq": {"amqp": 5672, "management": 15672}}

#: The label of the namespaces that tests make for themselves.
TEST_NAMESPACE = "taskyard.io/made-by=tests"
NO_FINALIZERS = '{"metadata": {"finalizers": null}}'


def name() -> str:
    """The cluster's name: one for each checkout, so that two test runs do not meet."""
    given = os.environ.get("TASKYARD_TEST_CLUSTER")
    return given or "test-" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]


def quiet_name() -> str:
    """A second cluster, in which no operator runs: for tests that are an operator themselves."""
    return f"{name()}-quiet"


def broker(kind: str, image: str) -> list[JSON]:
    """A broker's pod and Service."""
    labels = {"app": kind}
    container: JSON = {
        "name": kind,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": port, "containerPort": number} for port, number in PORTS[kind].items()],
        "readinessProbe": {"tcpSocket": {"port": next(iter(PORTS[kind]))}, "periodSeconds": 1},
    }
    if kind == "redis":
        # A password of its own lets a test give a wrong one.
        container["args"] = ["redis-server", "--requirepass", PASSWORD, "--save", "", "--appendonly", "no"]
    else:
        container["env"] = [
            {"name": "RABBITMQ_DEFAULT_USER", "value": USER},
            {"name": "RABBITMQ_DEFAULT_PASS", "value": PASSWORD},
        ]
    ports = [{"name": port, "port": number} for port, number in PORTS[kind].items()]
    meta = {"namespace": BROKERS, "name": kind, "labels": labels}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": labels, "ports": ports},
        },
    ]


def sweep(kube: Kubectl) -> None:
    """Remove the namespaces of tests that never came to their end: their queues and pods are in the way."""
    left = [body["metadata"]["name"] for body in kube.list("namespaces", TEST_NAMESPACE)]
    for name in left:
        within = kube.within(name)
        within("delete", "workerpools,taskqueues", "--all", "--wait=false", check=False)
        # Nobody waits for the tasks in these pods: they need not drain.
        for body in (*within.list("workerpools"), *within.list("taskqueues")):
            target = f"{body['kind']}/{body['metadata']['name']}"
            within("patch", target, "--type=merge", "-p", NO_FINALIZERS, check=False)
        within("delete", "pods", "--all", "--force", "--grace-period=0", "--wait=false", check=False)
        kube("delete", "namespace", name, "--wait=false", check=False)
    for name in left:
        kube("wait", "namespace", name, "--for=delete", "--timeout=120s", check=False)


def prepare() -> None:
    """Cluster, images, operator and brokers, ready for tests."""
    here = name()
    cluster("up", "--name", here)
    images = build_images(here)
    kube = kubectl(here)
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": BROKERS}})
    for kind in PORTS:
        kube.within(BROKERS).apply(*broker(kind, cluster("image", kind, "--name", here, capture=True)))
    install_chart(kube, SYSTEM, RELEASE, operator_values(images))
    sweep(kube)
    for kind in PORTS:
        kube.within(BROKERS)("wait", "pod", kind, "--for=condition=Ready", "--timeout=120s")


if __name__ == "__main__":
    if sys.argv[1:] == ["--down"]:
        for each in (name(), quiet_name()):
            cluster("down", "--name", each)
    else:
        prepare()
