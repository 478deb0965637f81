"""The objects that a WorkerPool stands for, as JSON bodies for server-side apply."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from taskyard_operator.api import names
from taskyard_operator.api.workerpool import WorkerPoolSpec
from taskyard_operator.core.pod_template import (
    JSON,
    BrokerRef,
    QueueRef,
    pod_labels,
    pod_template,
    revision_of,
)
from taskyard_operator.core.state import Target


def selector(pool: str, revision: str) -> dict[str, str]:
    """What a revision's Deployment selects: a pod that loses `taskyard.io/active` is let go, not killed."""
    return {names.LABEL_POOL: pool, names.LABEL_REVISION: revision, names.LABEL_ACTIVE: "true"}


def replicas_selector(pool: str) -> str:
    """The selector of all replicas in text form, for the scale subresource."""
    return f"{names.LABEL_POOL}={pool},{names.LABEL_ACTIVE}=true"


def owner_reference(pool: str, uid: str, *, controller: bool) -> JSON:
    """Name the WorkerPool as an owner; of a released pod it is not the controller."""
    reference: JSON = {
        "apiVersion": names.API_VERSION,
        "kind": names.WORKERPOOL_KIND,
        "name": pool,
        "uid": uid,
    }
    if controller:
        reference["controller"] = True
    return reference


def render(
    namespace: str,
    pool: str,
    uid: str,
    spec: WorkerPoolSpec,
    queues: Sequence[QueueRef],
    broker: BrokerRef,
    *,
    restarted_at: str | None = None,
) -> Target:
    """Work out the target of a spec. The token Secret is not among the children: its content is made once.

    Raises:
        InvalidTemplateError: if the podTemplate breaks what the operator relies on.
    """
    template = pod_template(pool, spec, queues, broker, restarted_at=restarted_at)
    revision = revision_of(template)
    labels = {**template["metadata"]["labels"], **selector(pool, revision)}
    template = {**template, "metadata": {**template["metadata"], "labels": labels}}
    name = names.deployment_name(pool, revision)
    metadata = _metadata(namespace, pool, uid)
    deployment: JSON = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            **metadata,
            "name": name,
            "labels": {**metadata["labels"], names.LABEL_REVISION: revision},
        },
        "spec": {
            # No replicas: they are set through the scale subresource alone.
            "selector": {"matchLabels": selector(pool, revision)},
            "template": template,
            "revisionHistoryLimit": 0,
            # Nothing is ever rolled within a Deployment; should somebody edit one, new pods come first.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        },
    }
    children = (
        _service_account(metadata, pool),
        _metrics_service(metadata, pool),
        _disruption_budget(metadata, pool, spec.disruption_budget.max_unavailable),
    )
    digest = _digest([deployment, *children])
    return Target(revision, name, deployment, children, digest)


def token_secret(namespace: str, pool: str, uid: str, token: str) -> JSON:
    """The Secret with which the operator, and nobody else, may drain and resume the pool's workers."""
    metadata = _metadata(namespace, pool, uid)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {**metadata, "name": names.token_secret_name(pool)},
        "type": "Opaque",
        "stringData": {names.TOKEN_KEY: token},
    }


def _metadata(namespace: str, pool: str, uid: str) -> JSON:
    return {
        "namespace": namespace,
        "labels": pod_labels(pool),
        "ownerReferences": [owner_reference(pool, uid, controller=True)],
    }


def _service_account(metadata: JSON, pool: str) -> JSON:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {**metadata, "name": names.worker_name(pool)},
        "automountServiceAccountToken": False,
    }


def _metrics_service(metadata: JSON, pool: str) -> JSON:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**metadata, "name": names.metrics_service_name(pool)},
        "spec": {
            "clusterIP": "None",
            # Draining pods too: what they finish must be counted.
            "selector": {names.LABEL_POOL: pool},
            "publishNotReadyAddresses": True,
            "ports": [
                {
                    "name": names.HTTP_PORT_NAME,
                    "port": names.HTTP_PORT,
                    "targetPort": names.HTTP_PORT_NAME,
                    "protocol": "TCP",
                }
            ],
        },
    }


def _disruption_budget(metadata: JSON, pool: str, max_unavailable: int | str) -> JSON:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {**metadata, "name": names.worker_name(pool)},
        "spec": {
            "maxUnavailable": max_unavailable,
            "selector": {"matchLabels": {names.LABEL_POOL: pool, names.LABEL_ACTIVE: "true"}},
        },
    }


def _digest(bodies: Sequence[Mapping[str, object]]) -> str:
    canonical = json.dumps(bodies, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
