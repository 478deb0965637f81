"""The API server's JSON, and a worker's, as the values that the planner decides on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from taskyard_operator.api import names
from taskyard_operator.api.names import PoolReason
from taskyard_operator.core.demand import QueueReading
from taskyard_operator.core.queue import QueueSample
from taskyard_operator.core.state import DeploymentView, PodView, Trouble, WorkerState

FRESH_SECONDS = 30.0
"""A poll that is older says nothing about now."""

_IMAGE = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_LONGEST_WORDS = 300


def unix(timestamp: str | None) -> float | None:
    """Unix seconds of an RFC 3339 timestamp; None for None or what cannot be read."""
    if not timestamp:
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def rfc3339(seconds: float) -> str:
    """Unix seconds as Kubernetes writes a time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def worker_state(answer: Mapping[str, Any]) -> WorkerState:
    """Read the answer to `GET /state`.

    Raises:
        ValueError: if it is not what a worker answers.
    """
    try:
        oldest = answer.get("oldestTaskSeconds")
        return WorkerState(
            state=str(answer["state"]),
            consuming=bool(answer["consuming"]),
            slots=max(0, int(answer["slots"])),
            busy=max(0, int(answer["busy"])),
            held=max(0, int(answer["held"])),
            finished=int(answer.get("finished", 0)),
            busy_seconds=float(answer.get("busySeconds", 0.0)),
            oldest_task_seconds=None if oldest is None else float(oldest),
            uptime_seconds=float(answer.get("uptimeSeconds", 0.0)),
            broker_connected=bool(answer.get("brokerConnected", True)),
        )
    except (AttributeError, KeyError, TypeError) as problem:
        raise ValueError(f"not a worker's state: {problem!r}") from problem


def pod_view(pod: Mapping[str, Any], worker: WorkerState | None = None) -> PodView:
    """Read a pod; `worker` is what its worker answered."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    conditions = {item["type"]: item for item in status.get("conditions") or []}
    ready = conditions.get("Ready") or {}
    placed = conditions.get("PodScheduled") or {}
    scheduled = bool(pod.get("spec", {}).get("nodeName"))
    container = _container(status)
    deleting = "deletionTimestamp" in metadata
    is_ready = ready.get("status") == "True"
    unplaced = not scheduled and placed.get("reason") == "Unschedulable"
    return PodView(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        revision=labels.get(names.LABEL_REVISION, ""),
        active=labels.get(names.LABEL_ACTIVE) == "true",
        created=unix(metadata.get("creationTimestamp")) or 0.0,
        phase=status.get("phase", "Pending"),
        scheduled=scheduled,
        started="running" in (container.get("state") or {}),
        ready=is_ready,
        deleting=deleting,
        controlled=any(owner.get("controller") for owner in metadata.get("ownerReferences") or []),
        lost=status.get("phase") == "Unknown" or status.get("reason") == "NodeLost",
        drain_annotation=annotations.get(names.ANNOTATION_DRAIN) == "true",
        draining_since=unix(annotations.get(names.ANNOTATION_DRAINING_SINCE)),
        ready_since=unix(ready.get("lastTransitionTime")) if is_ready else None,
        not_ready_since=None if is_ready else unix(ready.get("lastTransitionTime")),
        unschedulable_since=unix(placed.get("lastTransitionTime")) if unplaced else None,
        restarts=int(container.get("restartCount", 0)),
        ip=status.get("podIP") or None,
        node=pod.get("spec", {}).get("nodeName"),
        trouble=_trouble(container, placed if unplaced else {}),
        worker=worker,
    )


def is_asked(view: PodView) -> bool:
    """Whether the pod has a worker that can be asked for its state."""
    return view.started and view.ip is not None and not view.deleting and not view.terminal


def deployment_view(deployment: Mapping[str, Any]) -> DeploymentView:
    """Read the Deployment of a revision."""
    metadata = deployment["metadata"]
    conditions = (deployment.get("status") or {}).get("conditions") or []
    failing = next(
        (item for item in conditions if item["type"] == "ReplicaFailure" and item.get("status") == "True"),
        None,
    )
    failure = None
    if failing is not None:
        message = str(failing.get("message", ""))
        quota = "exceeded quota" in message
        failure = Trouble(PoolReason.QUOTA_EXCEEDED if quota else PoolReason.CREATE_FAILED, _words(message))
    return DeploymentView(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        revision=(metadata.get("labels") or {}).get(names.LABEL_REVISION, ""),
        replicas=int(deployment.get("spec", {}).get("replicas", 0)),
        deleting="deletionTimestamp" in metadata,
        failure=failure,
        failing_since=unix(failing.get("lastTransitionTime")) if failing else None,
    )


def queue_reading(samples: Sequence[QueueSample | None], now: float) -> QueueReading | None:
    """Sum the queues of a pool up; None unless each of them was read and recently."""
    depths = []
    for sample in samples:
        if sample is None or sample.depth is None or sample.failure is not None:
            return None
        if now - sample.at > FRESH_SECONDS:
            return None
        depths.append(sample.depth)
    if not depths:
        return None
    in_flight = [depth.unacknowledged for depth in depths]
    rates = [depth.publish_rate for depth in depths]
    ages = [depth.oldest_age for depth in depths if depth.oldest_age is not None]
    return QueueReading(
        ready=sum(depth.ready for depth in depths),
        in_flight=sum(value for value in in_flight if value is not None) if None not in in_flight else None,
        at=min(sample.at for sample in samples if sample is not None),
        publish_rate=sum(value for value in rates if value is not None) if None not in rates else None,
        oldest_age=max(ages, default=None),
    )


def _container(status: Mapping[str, Any]) -> Mapping[str, Any]:
    for item in status.get("containerStatuses") or []:
        if item.get("name") == names.WORKER_CONTAINER:
            found: Mapping[str, Any] = item
            return found
    return {}


def _trouble(container: Mapping[str, Any], unplaced: Mapping[str, Any]) -> Trouble | None:
    if unplaced:
        return Trouble(
            PoolReason.UNSCHEDULABLE, _words(str(unplaced.get("message", "no node takes the pod")))
        )
    waiting = container.get("state", {}).get("waiting") or {}
    reason = waiting.get("reason", "")
    message = f"{reason}: {_words(str(waiting.get('message') or 'no further words'))}"
    if reason in _IMAGE:
        return Trouble(PoolReason.IMAGE_PULL_FAILED, message)
    if reason in _CONFIG:
        return Trouble(PoolReason.CONTAINER_FAILED, message)
    if reason == "CrashLoopBackOff":
        ended = (container.get("lastState") or {}).get("terminated") or {}
        said = _words(str(ended.get("message") or "see the pod's log"))
        return Trouble(PoolReason.CRASH_LOOP, f"exit code {ended.get('exitCode', 'unknown')}: {said}")
    return None


def _words(message: str) -> str:
    """The last line that says something: a container's message may be the end of its log."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1][:_LONGEST_WORDS] if lines else ""
