"""A cluster that somebody else made, by $KUBECONFIG."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import commands, toolchain
from tests.cluster.errors import ClusterError, UnhealthyError
from tests.cluster.kind import build_command, status_by_kubectl
from tests.cluster.progress import say, step
from tests.cluster.provider import Build, Status
from tests.cluster.stock import STOCK

_NAMESPACES = "kube-system"


class ExistingProvider:
    """Whatever $KUBECONFIG points to; it is never made, mended or removed."""

    name = "existing"

    def up(self, cluster: str, nodes: int) -> None:
        """See Provider."""
        status = self.status(cluster)
        if not status.healthy:
            raise UnhealthyError(f"the cluster of {status.kubeconfig} is not well: {status.message}")
        if len(status.nodes) < nodes:
            raise ClusterError(
                f"the cluster of {status.kubeconfig} has {len(status.nodes)} nodes: add some, or ask for less"
            )
        say(f"using the cluster of {status.kubeconfig}")

    def down(self, cluster: str) -> None:
        """See Provider."""
        say("a cluster that was there before is left as it is")

    def names(self) -> list[str]:
        """See Provider."""
        return []

    def status(self, cluster: str) -> Status:
        """See Provider."""
        return status_by_kubectl(cluster, self.name, self.kubeconfig(cluster))

    def build(self, build: Build) -> str:
        """See Provider."""
        with step(f"building {build.tag}"):
            commands.run(build_command(build))
        return build.tag

    def load(self, cluster: str, images: Sequence[str]) -> None:
        """See Provider."""
        if os.environ.get("TASKYARD_IMAGES_PRESENT") == "1":
            return
        raise ClusterError(
            f"cannot bring {' '.join(images)} into an existing cluster: push them to where it pulls "
            "from, then set TASKYARD_IMAGES_PRESENT=1"
        )

    def image(self, name: str) -> str:
        """See Provider."""
        return STOCK[name]

    def kubeconfig(self, cluster: str) -> Path:
        """See Provider."""
        path = Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
        if not path.is_file():
            raise ClusterError(
                f"there is no kubeconfig {path}: set KUBECONFIG to the file of a cluster for tests"
            )
        return path

    def logs(self, cluster: str, directory: Path) -> None:
        """See Provider."""
        kubectl = [str(toolchain.tool("kubectl")), "--kubeconfig", str(self.kubeconfig(cluster))]
        commands.run(
            [*kubectl, "cluster-info", "dump", "--namespaces", _NAMESPACES, f"--output-directory={directory}"]
        )
