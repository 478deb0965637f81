"""From a bare machine to a cluster with Taskyard on it: where the demo and the end-to-end tests begin."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.kubectl import Kubectl

ROOT = Path(__file__).parents[2]
SYSTEM = "taskyard-system"
RELEASE = "taskyard"


@dataclass(frozen=True, slots=True)
class Images:
    """The images as the cluster knows them; ``first`` and ``second`` are two tags of the quickstart's."""

    operator: str = "localhost/taskyard-operator:dev"
    worker: str = "localhost/taskyard-worker:dev"
    first: str = "localhost/quickstart:1"
    second: str = "localhost/quickstart:2"


def cluster(*args: str, capture: bool = False) -> str:
    """Call the test cluster's command line; its output is shown unless it is wanted."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster", *args],
        cwd=ROOT,
        text=True,
        check=False,
        stdout=subprocess.PIPE if capture else None,
    )
    if done.returncode:
        sys.exit(done.returncode)
    return (done.stdout or "").strip()


def kubectl(name: str) -> Kubectl:
    """kubectl for the cluster of that name."""
    return Kubectl(
        Path(cluster("bin", "kubectl", capture=True)),
        Path(cluster("kubeconfig", "--name", name, capture=True)),
    )


def build_images(name: str) -> Images:
    """Build the project's images and the quickstart's two, and load them into the cluster."""
    images = Images()
    base = cluster("image", "base", "--name", name, capture=True)
    for file, tag in (("Dockerfile.worker", images.worker), ("Dockerfile.operator", images.operator)):
        cluster("build", "--name", name, "-f", file, "-t", tag, "--build-arg", f"BASE_IMAGE={base}", ".")
    for version, tag in (("1", images.first), ("2", images.second)):
        arguments = ["--build-arg", f"WORKER_IMAGE={images.worker}", "--build-arg", f"VERSION={version}"]
        cluster(
            "build", "--name", name, "-f", "examples/quickstart/Dockerfile", "-t", tag, *arguments,
            "examples/quickstart",
        )  # fmt: skip
    cluster("load", "--name", name, images.operator, images.worker, images.first, images.second)
    return images


def install_chart(kubectl: Kubectl, namespace: str, release: str, values: Mapping[str, Any]) -> None:
    """Install or upgrade the chart and wait until the operator is ready."""
    helm = cluster("bin", "helm", capture=True)
    command = [
        helm, "upgrade", "--install", release, str(ROOT / "charts" / "taskyard"), "--namespace", namespace,
        "--create-namespace", "--kubeconfig", str(kubectl.kubeconfig), "--wait", "--timeout", "180s",
        "--values", "-",
    ]  # fmt: skip
    done = subprocess.run(command, input=json.dumps(values), text=True, check=False, capture_output=True)
    if done.returncode:
        pods = kubectl.within(namespace)("get", "pods", "-o", "wide", check=False).stdout
        sys.exit(f"helm could not install the chart: {done.stderr.strip()}\n{pods}")


def operator_values(images: Images) -> dict[str, Any]:
    """Chart values for the operator's image; an annotation tells a new build of the same tag."""
    sources = hashlib.sha256()
    for file in sorted((ROOT / "operator" / "src").rglob("*.py")):
        sources.update(file.read_bytes())
    return {
        "image": image_values(images.operator),
        "podAnnotations": {"taskyard.io/sources": sources.hexdigest()[:12]},
    }


def image_values(image: str) -> dict[str, str]:
    """An image name as the chart's repository and tag."""
    repository, tag = image.rsplit(":", 1)
    return {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"}
