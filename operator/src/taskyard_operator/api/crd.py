"""The two CustomResourceDefinitions as values."""

from typing import Any

from . import names
from .schema import JSON, structural_schema
from .taskqueue import TaskQueue
from .workerpool import WorkerPool


def taskqueue_crd() -> JSON:
    """Return the CustomResourceDefinition of TaskQueue."""
    return _crd(
        kind=names.TASKQUEUE_KIND,
        plural=names.TASKQUEUE_PLURAL,
        short="tq",
        schema=structural_schema(TaskQueue),
        subresources={"status": {}},
        columns=[
            _column("Queue", "string", ".status.queueName", "Name of the queue at the broker"),
            _column("Ready", "integer", ".status.messages.ready", "Messages that wait"),
            _column("Unacked", "integer", ".status.messages.unacknowledged", "Messages that workers hold"),
            _column("Dead", "integer", ".status.messages.dead", "Messages in the dead-letter queue"),
            _column("Consumers", "integer", ".status.consumers", "Consumers that the broker knows"),
            _column("Rate/s", "number", ".status.deliverRate", "Messages that went to workers, per second"),
            _column("Status", "string", ".status.summary", "The most telling condition's reason"),
            _column("Oldest", "string", ".status.oldestMessageAge", "Age of the oldest message", wide=True),
            _column("Broker", "string", ".status.broker", "The broker's address", wide=True),
            _column("Age", "date", ".metadata.creationTimestamp", "Age of the TaskQueue"),
        ],
    )


def workerpool_crd() -> JSON:
    """Return the CustomResourceDefinition of WorkerPool."""
    return _crd(
        kind=names.WORKERPOOL_KIND,
        plural=names.WORKERPOOL_PLURAL,
        short="wp",
        schema=structural_schema(WorkerPool),
        subresources={
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        columns=[
            _column("Desired", "integer", ".status.desiredReplicas", "Replicas that are wanted"),
            _column("Ready", "integer", ".status.readyReplicas", "Replicas that consume"),
            _column("Busy", "integer", ".status.busyReplicas", "Replicas that run a task"),
            _column("Draining", "integer", ".status.drainingReplicas", "Pods that end their last tasks"),
            _column("Backlog", "integer", ".status.backlog", "Messages that wait"),
            _column("Latency", "string", ".status.predictedLatency", "How long a task sent now will wait"),
            _column("Status", "string", ".status.summary", "The most telling condition's reason"),
            _column("Queues", "string", ".spec.queues", "TaskQueues that are consumed", wide=True),
            _column("Revision", "string", ".status.revision", "Newest revision of the pods", wide=True),
            _column("Reason", "string", ".status.lastScaleReason", "Why the number changed last", wide=True),
            _column("Age", "date", ".metadata.creationTimestamp", "Age of the WorkerPool"),
        ],
    )


def _column(name: str, type_: str, path: str, description: str, *, wide: bool = False) -> JSON:
    column: JSON = {"name": name, "type": type_, "jsonPath": path, "description": description}
    return column | {"priority": 1} if wide else column


def _crd(
    *, kind: str, plural: str, short: str, schema: JSON, subresources: JSON, columns: list[JSON]
) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": [names.CATEGORY],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": subresources,
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }
