"""The pod that runs a worker: what the operator makes, the user's template over it, and the revision of the
result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from taskyard_operator.api import names
from taskyard_operator.api.workerpool import WorkerPoolSpec
from taskyard_operator.core.merge import MergeError, strategic_merge

JSON: TypeAlias = dict[str, Any]

TOKEN_VOLUME = "taskyard-token"  # noqa: S105 - a volume's name
TOKEN_PATH = "/var/run/taskyard/token"  # noqa: S105 - a path
PODINFO_VOLUME = "taskyard-podinfo"
PODINFO_PATH = "/var/run/taskyard/podinfo"
TMP_VOLUME = "tmp"
_USER = 10001
_OURS = {TOKEN_VOLUME: TOKEN_PATH, PODINFO_VOLUME: PODINFO_PATH}
_OUR_ENV = ("TASKYARD_HTTP", "TASKYARD_TOKEN_FILE", "TASKYARD_PODINFO", "TASKYARD_NODENAME")


class InvalidTemplateError(ValueError):
    """The podTemplate breaks what the operator needs; the message names the field and the remedy."""


@dataclass(frozen=True, slots=True)
class QueueRef:
    """A queue to consume: its name at the broker, and its dead letters where it has any."""

    name: str
    dead_letter_queue: str | None = None
    max_deliveries: int | None = None


@dataclass(frozen=True, slots=True)
class BrokerRef:
    """Where the broker's URL is: a Secret in the pool's namespace, and the key in it."""

    secret: str
    key: str


def worker_arguments(spec: WorkerPoolSpec, queues: Sequence[QueueRef]) -> list[str]:
    """The command line after `taskyard`."""
    arguments = ["-A", spec.app, "worker", "-Q", ",".join(queue.name for queue in queues)]
    arguments += ["-c", str(spec.slots), "-P", spec.pool.value, "--loglevel", spec.log_level.value]
    optional: tuple[tuple[str, int | None], ...] = (
        ("--prefetch-multiplier", spec.prefetch_multiplier),
        ("--max-tasks-per-child", spec.max_tasks_per_child),
        ("--max-memory-per-child", spec.max_memory_per_child),
        ("--time-limit", spec.time_limit),
        ("--soft-time-limit", spec.soft_time_limit),
    )
    for flag, value in optional:
        if value is not None:
            arguments += [flag, str(value)]
    return [*arguments, *spec.extra_args]


def pod_template(
    pool: str,
    spec: WorkerPoolSpec,
    queues: Sequence[QueueRef],
    broker: BrokerRef,
    *,
    restarted_at: str | None = None,
) -> JSON:
    """The PodTemplateSpec of a pool without its revision label.

    Raises:
        InvalidTemplateError: if the user's podTemplate cannot be merged or breaks what the operator relies
        on.
    """
    made = _made(pool, spec, queues, broker)
    overlay: JSON = {"metadata": spec.pod_template.metadata, "spec": spec.pod_template.spec}
    try:
        merged = strategic_merge(made, overlay)
    except MergeError as problem:
        raise InvalidTemplateError(f"podTemplate.{problem}") from problem
    metadata = merged["metadata"] = {
        key: value for key, value in merged["metadata"].items() if key in ("labels", "annotations") and value
    }
    # The operator finds its pods by these, whatever the template says.
    metadata["labels"] = {**metadata.get("labels", {}), **pod_labels(pool)}
    if restarted_at is not None:
        metadata["annotations"] = {
            **metadata.get("annotations", {}),
            names.ANNOTATION_RESTARTED_AT: restarted_at,
        }
    _check(merged, made)
    return merged


def pod_labels(pool: str) -> dict[str, str]:
    """Labels of every pod of a pool, whether it counts or drains."""
    return {
        names.LABEL_NAME: names.WORKER_NAME,
        names.LABEL_INSTANCE: pool,
        names.LABEL_MANAGED_BY: names.FIELD_MANAGER,
        names.LABEL_POOL: pool,
    }


def revision_of(template: Mapping[str, Any]) -> str:
    """The first ten hexadecimal digits of the template's SHA-256, over canonical JSON."""
    canonical = json.dumps(template, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def _made(pool: str, spec: WorkerPoolSpec, queues: Sequence[QueueRef], broker: BrokerRef) -> JSON:
    return {
        "metadata": {"labels": pod_labels(pool)},
        "spec": {
            "serviceAccountName": names.worker_name(pool),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            # As process 1 the worker would be deaf to a SIGTERM that comes before it has a handler: a pod
            # deleted in its first moment would go on to consume until it is killed.
            "shareProcessNamespace": True,
            "terminationGracePeriodSeconds": spec.shutdown.grace_period,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(spec, queues, broker)],
            "volumes": [
                {"name": TMP_VOLUME, "emptyDir": {}},
                {
                    "name": TOKEN_VOLUME,
                    "secret": {
                        "secretName": names.token_secret_name(pool),
                        "items": [{"key": names.TOKEN_KEY, "path": names.TOKEN_KEY}],
                    },
                },
                {
                    "name": PODINFO_VOLUME,
                    "downwardAPI": {
                        "items": [{"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}]
                    },
                },
            ],
        },
    }


def _container(spec: WorkerPoolSpec, queues: Sequence[QueueRef], broker: BrokerRef) -> JSON:
    return {
        "name": names.WORKER_CONTAINER,
        "image": spec.image,
        "args": worker_arguments(spec, queues),
        "env": _environment(spec, queues, broker),
        "ports": [{"name": names.HTTP_PORT_NAME, "containerPort": names.HTTP_PORT, "protocol": "TCP"}],
        # Enough to be scheduled fairly and little enough for a laptop; the template sets what the tasks need.
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        # The last line of a worker that cannot start ends up in the pool's conditions.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # Two minutes to import an application, asked each second so that a fast one is ready fast.
        "startupProbe": {**_probe("/healthz"), "periodSeconds": 1, "failureThreshold": 120},
        "readinessProbe": {**_probe("/readyz"), "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**_probe("/healthz"), "periodSeconds": 10, "failureThreshold": 6},
        "volumeMounts": [
            {"name": TMP_VOLUME, "mountPath": "/tmp"},  # noqa: S108 - in the container
            {"name": TOKEN_VOLUME, "mountPath": TOKEN_PATH, "readOnly": True},
            {"name": PODINFO_VOLUME, "mountPath": PODINFO_PATH, "readOnly": True},
        ],
    }


def _probe(path: str) -> JSON:
    return {"httpGet": {"path": path, "port": names.HTTP_PORT_NAME}, "timeoutSeconds": 5}


def _environment(spec: WorkerPoolSpec, queues: Sequence[QueueRef], broker: BrokerRef) -> list[JSON]:
    secret = {"secretKeyRef": {"name": broker.secret, "key": broker.key}}
    environment: list[JSON] = [
        {"name": "TASKYARD_BROKER_URL", "valueFrom": secret},
        {"name": "TASKYARD_HTTP", "value": f"0.0.0.0:{names.HTTP_PORT}"},
        {"name": "TASKYARD_TOKEN_FILE", "value": f"{TOKEN_PATH}/{names.TOKEN_KEY}"},
        {"name": "TASKYARD_PODINFO", "value": f"{PODINFO_PATH}/annotations"},
        {"name": "TASKYARD_NODENAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "TASKYARD_GRACE_SECONDS", "value": str(spec.shutdown.grace_period)},
    ]
    dead_letters = {
        queue.name: {"queue": queue.dead_letter_queue, "maxDeliveries": queue.max_deliveries}
        for queue in queues
        if queue.dead_letter_queue is not None
    }
    if dead_letters:
        text = json.dumps(dead_letters, sort_keys=True, separators=(",", ":"))
        environment.append({"name": "TASKYARD_DEAD_LETTERS", "value": text})
    return environment


def _check(template: JSON, made: JSON) -> None:
    """Refuse what would break the drain, or leave the operator without an answer from the worker."""
    spec = template["spec"]
    where = "podTemplate.spec"
    if spec.get("restartPolicy", "Always") != "Always":
        raise InvalidTemplateError(
            f"{where}.restartPolicy must be Always: a worker is restarted when it exits"
        )
    if spec.get("hostNetwork"):
        raise InvalidTemplateError(
            f"{where}.hostNetwork: two workers on a node would want the same port; remove it"
        )
    containers = [*spec.get("containers", []), *(spec.get("initContainers") or [])]
    for container in containers:
        for port in container.get("ports") or []:
            if port.get("hostPort"):
                raise InvalidTemplateError(
                    f"{where}: container {container.get('name')!r} has a hostPort, so that a new worker"
                    " could not start beside the one it replaces; remove it"
                )
    worker = next(
        (item for item in spec.get("containers", []) if item["name"] == names.WORKER_CONTAINER), None
    )
    if worker is None:
        raise InvalidTemplateError(f"{where}.containers must keep the container {names.WORKER_CONTAINER!r}")
    if not worker.get("image"):
        raise InvalidTemplateError(f"{where}: the container {names.WORKER_CONTAINER!r} must have an image")
    _check_worker(spec, worker, made["spec"], where)


def _check_worker(spec: JSON, worker: JSON, made: JSON, where: str) -> None:
    ours = made["containers"][0]
    mounts = {mount["mountPath"]: mount["name"] for mount in worker.get("volumeMounts") or []}
    volumes = {volume["name"]: volume for volume in spec.get("volumes") or []}
    expected = {volume["name"]: volume for volume in made["volumes"]}
    for name, path in _OURS.items():
        if mounts.get(path) != name or volumes.get(name) != expected[name]:
            raise InvalidTemplateError(
                f"{where}: the volume {name!r} at {path} is the operator's, without which it cannot drain a"
                " worker; leave it as it is"
            )
    environment = {entry["name"]: entry for entry in worker.get("env") or []}
    for entry in ours["env"]:
        if entry["name"] in _OUR_ENV and environment.get(entry["name"]) != entry:
            raise InvalidTemplateError(
                f"{where}: the variable {entry['name']} is the operator's, without which it cannot drain a"
                " worker; leave it as it is"
            )
    if not any(port.get("containerPort") == names.HTTP_PORT for port in worker.get("ports") or []):
        raise InvalidTemplateError(f"{where}: the container's port {names.HTTP_PORT} must stay")
