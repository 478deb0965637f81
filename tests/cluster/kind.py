"""Clusters by kind, where a Docker engine answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import cache, commands, packages, toolchain
from tests.cluster.errors import ClusterError, CommandError, NoSuchClusterError
from tests.cluster.local.layout import check_name
from tests.cluster.progress import counted, say, step
from tests.cluster.provider import Build, NodeStatus, Status
from tests.cluster.stock import STOCK

NODE_IMAGE = f"kindest/node:{toolchain.KUBERNETES}"
_WAIT = "180s"


class KindProvider:
    """Clusters whose nodes are Docker containers."""

    name = "kind"

    def up(self, cluster: str, nodes: int) -> None:
        """See Provider."""
        check_name(cluster)
        with cache.locked(f"cluster-{cluster}"):
            status = self.status(cluster)
            there = counted(len(status.nodes), "node")
            if status.healthy and len(status.nodes) >= nodes:
                say(f"cluster {cluster} is up already, with {there}: nothing to do")
                return
            if cluster in self.names():
                say(f"cluster {cluster} has to be made anew: {status.message or f'it has only {there}'}")
                self.down(cluster)
            with step(f"making the kind cluster {cluster} with {counted(nodes, 'node')}"):
                command = create_command(_kind(), cluster, self._file(cluster))
                commands.run(command, stdin=configuration(nodes))
            say(f"cluster {cluster} is up: export KUBECONFIG={self._file(cluster)}")

    def down(self, cluster: str) -> None:
        """See Provider."""
        with step(f"removing cluster {cluster}"):
            commands.run(
                [_kind(), "delete", "cluster", "--name", cluster, "--kubeconfig", str(self._file(cluster))]
            )
        self._file(cluster).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """See Provider. Only clusters whose kubeconfig is kept here: others are somebody else's."""
        there = commands.run([_kind(), "get", "clusters"]).split()
        return [name for name in there if self._file(name).exists()]

    def status(self, cluster: str) -> Status:
        """See Provider."""
        config = self._file(cluster)
        if not config.exists():
            return Status(cluster, self.name, healthy=False, message="it is not there")
        return status_by_kubectl(cluster, self.name, config)

    def build(self, build: Build) -> str:
        """See Provider."""
        with step(f"building {build.tag}"):
            commands.run(build_command(build))
        return build.tag

    def load(self, cluster: str, images: Sequence[str]) -> None:
        """See Provider."""
        self.kubeconfig(cluster)
        with step(f"loading {' '.join(images)} into {cluster}"):
            commands.run([_kind(), "load", "docker-image", "--name", cluster, *images])

    def image(self, name: str) -> str:
        """See Provider."""
        image = STOCK[name]
        if not commands.succeeds(["docker", "image", "inspect", image]):
            with step(f"pulling {image}"):
                commands.run(["docker", "pull", "--quiet", image])
        return image

    def kubeconfig(self, cluster: str) -> Path:
        """See Provider."""
        path = self._file(cluster)
        if not path.exists():
            raise NoSuchClusterError(cluster)
        return path

    def logs(self, cluster: str, directory: Path) -> None:
        """See Provider."""
        commands.run([_kind(), "export", "logs", "--name", cluster, str(directory)])

    def _file(self, cluster: str) -> Path:
        directory = cache.root() / "kind"
        directory.mkdir(exist_ok=True)
        return directory / f"{cluster}.kubeconfig"


def configuration(nodes: int) -> str:
    """Return kind's configuration for so many nodes, the first with the control plane."""
    roles = ["control-plane", *["worker"] * (nodes - 1)]
    content = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": role, "image": NODE_IMAGE} for role in roles],
    }
    # JSON is YAML too.
    return json.dumps(content)


def create_command(kind: str, cluster: str, kubeconfig: Path) -> list[str]:
    """Return the command that makes a cluster of the configuration on its standard input."""
    target = ["--name", cluster, "--kubeconfig", str(kubeconfig)]
    return [kind, "create", "cluster", *target, "--config", "-", "--wait", _WAIT]


def build_command(build: Build) -> list[str]:
    """Return the command that builds an image with Docker."""
    arguments = [f"--build-arg={key}={value}" for key, value in build.arguments.items()]
    return [
        "docker",
        "build",
        "--tag",
        build.tag,
        "--file",
        str(build.dockerfile),
        *arguments,
        str(build.context),
    ]


def status_by_kubectl(cluster: str, provider: str, kubeconfig: Path) -> Status:
    """Ask the nodes of a cluster how they are."""
    kubectl = str(toolchain.tool("kubectl"))
    try:
        answer = commands.run(
            [kubectl, "--kubeconfig", str(kubeconfig), "get", "nodes", "-o", "json"], timeout=30
        )
    except CommandError as error:
        return Status(cluster, provider, healthy=False, message=str(error), kubeconfig=str(kubeconfig))
    nodes = tuple(
        NodeStatus(
            node["metadata"]["name"],
            any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", [])),
        )
        for node in json.loads(answer)["items"]
    )
    unready = [node.name for node in nodes if not node.ready]
    message = f"not ready: {', '.join(unready)}" if unready else "" if nodes else "it has no nodes"
    return Status(cluster, provider, not message, message, str(kubeconfig), nodes)


def _kind() -> str:
    """Return the path of kind, after building it where it is not installed."""
    packages.ensure([packages.Requirement("docker", "docker.io")])
    if not commands.succeeds(["docker", "info"]):
        raise ClusterError(
            "no Docker engine answers: start it, or use --provider local (as root) or existing"
        )
    return commands.find("kind") or str(toolchain.binary("kind"))
