"""What a provider of clusters does, and which one is used where."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.cluster import commands
from tests.cluster.errors import ClusterError, UsageError

PROVIDERS = ("kind", "local", "existing")
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node: its name, and whether Kubernetes calls it ready."""

    name: str
    ready: bool


@dataclass(frozen=True, slots=True)
class Status:
    """How a cluster is. ``message`` says what is wrong where it is not ``healthy``."""

    name: str
    provider: str
    healthy: bool
    message: str = ""
    kubeconfig: str | None = None
    nodes: tuple[NodeStatus, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Build:
    """An image to build: the arguments of ``docker build``."""

    tag: str
    context: Path
    dockerfile: Path
    arguments: Mapping[str, str] = field(default_factory=dict)


class Provider(Protocol):
    """Clusters of one kind, by name. Every method raises ClusterError with what to do."""

    name: str

    def up(self, cluster: str, nodes: int) -> None:
        """Return when a cluster of at least so many nodes is well; make or mend it where it is not."""

    def down(self, cluster: str) -> None:
        """Remove a cluster and all that it left, whatever state it is in."""

    def names(self) -> list[str]:
        """Return the clusters that are there, or that have left something."""

    def status(self, cluster: str) -> Status:
        """Return how a cluster is."""

    def build(self, build: Build) -> str:
        """Build an image and return its name as a pod has to write it. No cluster is needed."""

    def load(self, cluster: str, images: Sequence[str]) -> None:
        """Make images known to all nodes of a cluster."""

    def image(self, name: str) -> str:
        """Return the full name of a stock image (see stock.py), after making sure that it is there."""

    def kubeconfig(self, cluster: str) -> Path:
        """Return the administrator's kubeconfig."""

    def logs(self, cluster: str, directory: Path) -> None:
        """Collect what the control plane and the nodes have written."""


def choose(wanted: str) -> str:
    """Return the provider to use: the one that is wanted, or for ``auto`` the first that works here.

    Raises UsageError for a name that is none, and ClusterError where nothing works.
    """
    if wanted in PROVIDERS:
        return wanted
    if wanted != AUTO:
        raise UsageError(f"{wanted!r} is no provider: use auto, {', '.join(PROVIDERS)}")
    if docker_answers():
        return "kind"
    if sys.platform == "linux" and os.geteuid() == 0:
        return "local"
    if os.environ.get("KUBECONFIG"):
        return "existing"
    raise ClusterError(
        "no cluster can be made here: start Docker, or run this as root on Linux, "
        "or set KUBECONFIG to a cluster for tests"
    )


def docker_answers() -> bool:
    """Tell whether there is a Docker engine, not only its client."""
    return commands.find("docker") is not None and commands.succeeds(["docker", "info"])
