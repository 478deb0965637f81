"""The chart's own test passes on a real cluster, with an operator kept to its own namespace."""

import secrets
import subprocess

import pytest

from tests.e2e.prepare import name
from tests.harness.install import Images, cluster, image_values, install_chart
from tests.harness.kubectl import Kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_helm_test_passes_with_an_embedded_broker(kube: Kubectl, broker: str) -> None:
    namespace = f"chart-{secrets.token_hex(3)}"
    # The namespace takes restricted pods only: the operator's, the broker's and the test's are.
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    kube.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": restricted}}
    )
    image = image_values(cluster("image", broker, "--name", name(), capture=True))
    values = {
        "crds": {"create": False},
        "fullnameOverride": namespace,
        "image": image_values(Images().operator),
        "watchNamespaces": [namespace],
        "replicas": 2,
        "broker": {"embedded": broker, broker: {"image": image}},
    }
    helm = cluster("bin", "helm", capture=True)
    where = ["--namespace", namespace, "--kubeconfig", str(kube.kubeconfig)]

    def test() -> None:
        done = subprocess.run(
            [helm, "test", namespace, *where, "--logs"], text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        install_chart(kube, namespace, namespace, values)
        test()
        # When the operator that works ends, then the one that stood by has taken over
        worked, _, _ = operator_at_work(kube, namespace).rpartition("_")
        kube.within(namespace)("delete", "pod", worked)
        test()
        assert not operator_at_work(kube, namespace).startswith(worked)
    finally:
        subprocess.run([helm, "uninstall", namespace, *where], check=False, capture_output=True)
        kube("delete", "namespace", namespace, "--wait=false", check=False)


def operator_at_work(kube: Kubectl, namespace: str) -> str:
    """Who holds the Lease."""
    lease = kube.within(namespace).get("lease", namespace)
    assert lease
    return str(lease["spec"]["holderIdentity"])
