"""What one pass saw of a pool: values that the planner decides on, and nothing that needs I/O to ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from taskyard_operator.core.demand import QueueReading
from taskyard_operator.core.scaler import Policy


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker's own answer to `GET /state` (docs/reference/worker-http.md); times in seconds."""

    state: str
    consuming: bool
    slots: int
    busy: int
    held: int
    finished: int = 0
    busy_seconds: float = 0.0
    oldest_task_seconds: float | None = None
    uptime_seconds: float = 0.0
    broker_connected: bool = True

    @property
    def running(self) -> bool:
        """Whether it takes messages."""
        return self.state == "running" and self.consuming

    @property
    def drained_of_work(self) -> bool:
        """Whether it holds nothing and will take nothing: it can be deleted without anybody noticing."""
        return (
            self.state in ("draining", "drained") and not self.consuming and self.busy == 0 and self.held == 0
        )


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps a pod from working: a reason of `PoolReason`, and the container's or scheduler's words."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod of the pool. Times are Unix seconds.

    `started`: the container `worker` runs (Kubernetes says so up to a second late). `controlled`: a
    ReplicaSet owns it. `worker` is None where it did not answer.
    """

    name: str
    uid: str
    resource_version: str
    revision: str
    active: bool
    created: float
    phase: str = "Running"
    scheduled: bool = True
    started: bool = True
    ready: bool = False
    deleting: bool = False
    controlled: bool = True
    lost: bool = False
    drain_annotation: bool = False
    draining_since: float | None = None
    ready_since: float | None = None
    not_ready_since: float | None = None
    unschedulable_since: float | None = None
    restarts: int = 0
    ip: str | None = None
    node: str | None = None
    trouble: Trouble | None = None
    worker: WorkerState | None = None

    @property
    def terminal(self) -> bool:
        """Whether its containers have ended for good (evicted, node shut down)."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def counts(self) -> bool:
        """Whether a ReplicaSet counts it as one of its replicas (once it has adopted it)."""
        return self.active and not self.deleting and not self.terminal

    @property
    def unplaceable(self) -> bool:
        """Whether no node takes it: it cannot have started, and a ReplicaSet removes it before any other."""
        return not self.scheduled and self.unschedulable_since is not None

    @property
    def released(self) -> bool:
        """Whether it left its ReplicaSet in order to drain."""
        return not self.active and not self.deleting

    @property
    def consuming(self) -> bool:
        """Whether it takes messages."""
        return self.worker is not None and self.worker.running and not self.deleting

    @property
    def silent(self) -> bool:
        """Whether it runs but did not answer: what it does is not known."""
        return self.started and self.worker is None and not self.lost and not self.terminal


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """The Deployment of one revision; `replicas` is what its spec asks for."""

    name: str
    uid: str
    resource_version: str
    revision: str
    replicas: int
    deleting: bool = False
    failure: Trouble | None = None
    failing_since: float | None = None


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """What of a WorkerPool's spec the planner needs; times in seconds, `drain_timeout` 0 is for ever."""

    policy: Policy
    manual: int | None = None
    paused: bool = False
    dry_run: bool = False
    max_surge: int | str = "25%"
    max_unavailable: int | str = 0
    progress_deadline: float = 600.0
    drain_timeout: float = 0.0
    slots_per_pod: int = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the spec cannot be put into effect: a reason of `PoolReason`, and what to do."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Target:
    """The revision that the spec asks for, and the objects that go with it, as JSON bodies."""

    revision: str
    deployment: str
    deployment_body: Mapping[str, Any] = field(default_factory=dict)
    children: tuple[Mapping[str, Any], ...] = ()
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Previous:
    """What the status said before: hints where no pod and no memory can tell, and what is only carried on."""

    desired: int | None = None
    service_time: float | None = None
    last_scale_time: str | None = None
    last_scale_reason: str | None = None


@dataclass(frozen=True, slots=True)
class PoolView:
    """All that a pass knows. `target` is None where `problem` keeps it from being worked out."""

    namespace: str
    name: str
    now: float
    settings: PoolSettings
    target: Target | None
    problem: Problem | None = None
    generation: int = 1
    deleting: bool = False
    finalizer: bool = True
    deployments: tuple[DeploymentView, ...] = ()
    pods: tuple[PodView, ...] = ()
    queue: QueueReading | None = None
    failures: int = 0
    broker_trouble: Trouble | None = None
    previous: Previous = Previous()
