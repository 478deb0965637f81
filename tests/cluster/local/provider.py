"""The local provider: clusters of bare processes, images by buildah."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.errors import NoSuchClusterError
from tests.cluster.local import images
from tests.cluster.local.cluster import LocalCluster, check_machine
from tests.cluster.local.layout import Layout
from tests.cluster.provider import Build, Status


class LocalProvider:
    """Clusters on this machine without Docker."""

    name = "local"

    def up(self, cluster: str, nodes: int) -> None:
        """See Provider."""
        LocalCluster(cluster).up(nodes)

    def down(self, cluster: str) -> None:
        """See Provider."""
        check_machine()
        LocalCluster(cluster).down()

    def names(self) -> list[str]:
        """See Provider."""
        return [layout.name for layout in Layout.all()]

    def status(self, cluster: str) -> Status:
        """See Provider."""
        return LocalCluster(cluster).status()

    def build(self, build: Build) -> str:
        """See Provider."""
        check_machine()
        return images.build(build)

    def load(self, cluster: str, images_: Sequence[str]) -> None:
        """See Provider."""
        check_machine()
        images.load(Layout.of(cluster), images_)

    def image(self, name: str) -> str:
        """See Provider."""
        check_machine()
        return images.stock(name)

    def kubeconfig(self, cluster: str) -> Path:
        """See Provider."""
        path = Layout.of(cluster).kubeconfig
        if not path.exists():
            raise NoSuchClusterError(cluster)
        return path

    def logs(self, cluster: str, directory: Path) -> None:
        """See Provider."""
        layout = Layout.of(cluster)
        if not layout.directory.exists():
            raise NoSuchClusterError(cluster)
        directory.mkdir(parents=True, exist_ok=True)
        if layout.keeper_log.exists():
            shutil.copy(layout.keeper_log, directory / "keeper.log")
        for node in layout.directory.glob("nodes/*"):
            name = layout.node_name(int(node.name))
            shutil.copytree(node / "log", directory / name, dirs_exist_ok=True)
            # The kubelet's own directory of the containers' output; the links in it end in containerd's.
            pods = node / "var-log" / "pods"
            if pods.is_dir():
                shutil.copytree(
                    pods, directory / name / "pods", dirs_exist_ok=True, ignore_dangling_symlinks=True
                )
