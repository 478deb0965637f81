"""What a plan can ask for. Each action may be cut short at any point: the next pass sees how far it came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class PodRef:
    """A pod exactly as it was seen: name, uid and resourceVersion are preconditions."""

    name: str
    uid: str
    resource_version: str
    ip: str | None = None


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Hold the WorkerPool until its pods are drained."""


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Let the WorkerPool go; its children follow by their owner references."""


@dataclass(frozen=True, slots=True)
class ApplyChildren:
    """Server-side apply what stands beside the Deployments. `digest` tells when that was done last."""

    bodies: tuple[Mapping[str, Any], ...]
    digest: str


@dataclass(frozen=True, slots=True)
class EnsureDeployment:
    """Make the Deployment of a revision with no replicas, or put its fields right; never its replicas."""

    name: str
    body: Mapping[str, Any]
    exists: bool


@dataclass(frozen=True, slots=True)
class Grow:
    """Bring draining pods back and raise a Deployment.

    In this order: the pods consume again (at once), the Deployment is raised, its ReplicaSet is seen to
    know it, the pods get their label back. A ReplicaSet that adopted first would be over its count, and
    kill.
    """

    deployment: str
    revision: str
    current: int
    replicas: int
    resume: tuple[PodRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Shrink:
    """Take pods out of a Deployment and lower it by as many as its ReplicaSet let go.

    In this order: each pod stops consuming, it loses its label, its ReplicaSet is seen to have let go, the
    Deployment is lowered. `drain` are pods with a worker to be told, `release` pods without one (not
    started, lost), `absent` the replicas that no node has yet: a ReplicaSet always removes those first.
    """

    deployment: str
    revision: str
    current: int
    drain: tuple[PodRef, ...] = ()
    release: tuple[PodRef, ...] = ()
    absent: int = 0

    @property
    def replicas(self) -> int:
        """What the Deployment is lowered to if everything succeeds."""
        return self.current - self.absent - len(self.drain) - len(self.release)


@dataclass(frozen=True, slots=True)
class DrainPod:
    """Tell a released pod (again) not to consume."""

    pod: PodRef


@dataclass(frozen=True, slots=True)
class ResumePod:
    """Tell a pod that nobody wants to drain to consume."""

    pod: PodRef


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete a pod. `unchanged` makes its resourceVersion a precondition too: no change may go unseen."""

    pod: PodRef
    why: str
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class DeleteDeployment:
    """Delete the Deployment of a revision that has no pods, if it is still as it was seen."""

    name: str
    uid: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class EmitEvent:
    """Tell the user; `type` is Normal or Warning."""

    type: str
    reason: str
    message: str


Action: TypeAlias = (
    AddFinalizer
    | RemoveFinalizer
    | ApplyChildren
    | EnsureDeployment
    | Grow
    | Shrink
    | DrainPod
    | ResumePod
    | DeletePod
    | DeleteDeployment
    | EmitEvent
)
