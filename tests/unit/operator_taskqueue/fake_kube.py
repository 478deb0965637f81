"""The few calls of the API server that passes over TaskQueues use, in memory."""

import base64
import copy
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from taskyard_operator.api.taskqueue import TaskQueue
from taskyard_operator.kube.errors import Conflict, NotFound
from taskyard_operator.kube.resources import TASK_QUEUES, Resource

JSON = dict[str, Any]


class FakeKube:
    """Objects by resource, namespace and name, with merge patches, resource versions and finalizers."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], JSON] = {}
        self.events: list[tuple[str, str, str]] = []
        self.writes: list[JSON] = []
        self._numbers = itertools.count(1)

    # -- what a test does

    def put(self, name: str, spec: JSON | None = None, *, namespace: str = "shop", created: str = "") -> JSON:
        """Make a TaskQueue, or change the spec of the one that is there."""
        key = (TASK_QUEUES.plural, namespace, name)
        found = self.objects.get(key)
        if found is None:
            number = next(self._numbers)
            metadata = {
                "name": name,
                "namespace": namespace,
                "uid": f"uid-{number}",
                "generation": 1,
                "creationTimestamp": created or f"2026-01-01T00:00:{number % 60:02}Z",
            }
            found = {"apiVersion": "taskyard.io/v1alpha1", "kind": "TaskQueue", "metadata": metadata}
        elif found["spec"] != spec:
            found["metadata"]["generation"] += 1
        found["spec"] = spec or {}
        self._store(key, found)
        return found

    def delete(self, name: str, namespace: str = "shop") -> None:
        """Delete a TaskQueue as a user does: with a finalizer it only begins."""
        key = (TASK_QUEUES.plural, namespace, name)
        metadata = self.objects[key]["metadata"]
        if metadata.get("finalizers"):
            metadata["deletionTimestamp"] = "2026-02-01T00:00:00Z"
        else:
            del self.objects[key]

    def secret(self, data: Mapping[str, str], name: str = "taskyard-broker", namespace: str = "shop") -> None:
        """Make or change a Secret."""
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self._store(("secrets", namespace, name), {"metadata": {"name": name}, "data": encoded})

    def status(self, name: str, namespace: str = "shop") -> JSON:
        """The status of a TaskQueue."""
        found: JSON = self.objects[TASK_QUEUES.plural, namespace, name].get("status") or {}
        return found

    def condition(self, name: str, type_: str, namespace: str = "shop") -> JSON:
        """One of its conditions, or an empty one."""
        conditions = self.status(name, namespace).get("conditions") or []
        return next((item for item in conditions if item["type"] == type_), {})

    def says(self, name: str, type_: str, namespace: str = "shop") -> tuple[str, str]:
        """Status and reason of a condition."""
        found = self.condition(name, type_, namespace)
        return found.get("status", ""), found.get("reason", "")

    def exists(self, name: str, namespace: str = "shop") -> bool:
        """Whether a TaskQueue is still there."""
        return (TASK_QUEUES.plural, namespace, name) in self.objects

    # -- what the operator does

    async def get(self, resource: Resource, namespace: str, name: str) -> JSON | None:
        return copy.deepcopy(self.objects.get((resource.plural, namespace, name)))

    async def list(
        self, resource: Resource, namespace: str, *, labels: Mapping[str, str] | None = None
    ) -> list[JSON]:
        return [
            copy.deepcopy(body)
            for (plural, space, _), body in self.objects.items()
            if plural == resource.plural and namespace in ("", space)
        ]

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: JSON, *, subresource: str = ""
    ) -> JSON:
        key = (resource.plural, namespace, name)
        if key not in self.objects:
            raise NotFound(404, "NotFound", f"no {name}")
        body = self.objects[key]
        wanted = patch.get("metadata", {}).get("resourceVersion")
        if wanted is not None and wanted != body["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "the object has been modified")
        assert set(patch) == ({"status"} if subresource == "status" else {"metadata"})
        self.writes.append(patch)
        merged = _merge(body, patch)
        self._store(key, merged)
        metadata = merged["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            del self.objects[key]
        return copy.deepcopy(merged)

    async def event(self, about: JSON, *, type: str, reason: str, message: str) -> None:
        assert about["kind"] == "TaskQueue"
        self.events.append((type, reason, message))

    def _store(self, key: tuple[str, str, str], body: JSON) -> None:
        body["metadata"]["resourceVersion"] = str(next(self._numbers))
        if key[0] == TASK_QUEUES.plural and isinstance(body.get("spec"), dict):
            status = TaskQueue.model_validate({**body, "spec": {}}).status
            for item in status.conditions:
                assert item.last_transition_time <= datetime.now(UTC)
        self.objects[key] = body


def _merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged
