"""Writes a TaskQueue's status: at once when a condition changed, numbers alone every ten seconds at most."""

from __future__ import annotations

from taskyard_operator.api.conditions import Condition
from taskyard_operator.api.names import ConditionType
from taskyard_operator.api.taskqueue import TaskQueue, TaskQueueStatus
from taskyard_operator.core.queue_status import is_rest, transitions
from taskyard_operator.kube.errors import NotFound
from taskyard_operator.kube.resources import JSON, TASK_QUEUES
from taskyard_operator.reconcile.taskqueue_api import KubeApi

NUMBERS_EVERY = 10.0
"""Seconds between two writes of numbers alone."""
TURNED_EVERY = 1.0
"""The same where a count came from zero or went to zero: what people look for first."""

_NUMBERS = ("messages", "consumers", "publishRate", "deliverRate", "oldestMessageAge")
_ALL = (*_NUMBERS, "lastPolled", "observedGeneration", "summary", "queueName", "broker", "conditions")
_MESSAGES = ("ready", "unacknowledged", "dead", "total")


class StatusWriter:
    """Remembers when each status was written."""

    def __init__(self, kube: KubeApi) -> None:
        self._kube = kube
        self._written: dict[tuple[str, str], float] = {}

    def forget(self, namespace: str, name: str) -> None:
        """The TaskQueue is gone."""
        self._written.pop((namespace, name), None)

    async def write(self, body: JSON, queue: TaskQueue, status: TaskQueueStatus, now: float) -> float | None:
        """Write what changed, and events for conditions that turned; `now` in seconds of any clock.

        The seconds until changed numbers may be written, or None if nothing is left to write.
        """
        old, new = queue.status.to_json(), status.to_json()
        owner = (queue.metadata.namespace, queue.metadata.name)
        if _without_numbers(old) == _without_numbers(new):
            if all(old.get(key) == new.get(key) for key in _NUMBERS):
                return None
            every = TURNED_EVERY if _turned(old, new) else NUMBERS_EVERY
            rest = self._written.get(owner, float("-inf")) + every - now
            if rest > 0 and "messages" in old:
                return rest
        try:
            await self._kube.merge(TASK_QUEUES, *owner, {"status": _patch(new)}, subresource="status")
        except NotFound:
            return None  # deleted meanwhile
        self._written[owner] = now
        for item in transitions(queue.status.conditions, status.conditions):
            await self._tell(body, item)
        return None

    async def _tell(self, body: JSON, item: Condition) -> None:
        kind = "Normal" if is_rest(item) or item.type == ConditionType.DELETING else "Warning"
        message = item.message or f"{item.type} is {item.status}"
        await self._kube.event(body, type=kind, reason=item.reason, message=message)


def _without_numbers(status: JSON) -> JSON:
    return {key: value for key, value in status.items() if key not in (*_NUMBERS, "lastPolled")}


def _turned(old: JSON, new: JSON) -> bool:
    before, after = old.get("messages") or {}, new.get("messages") or {}
    return any(bool(before.get(key)) != bool(after.get(key)) for key in _MESSAGES)


def _patch(status: JSON) -> JSON:
    """The whole status as a merge patch: what is not set is taken away."""
    patch: JSON = {key: status.get(key) for key in _ALL}
    if patch["messages"] is not None:
        patch["messages"] = {key: patch["messages"].get(key) for key in _MESSAGES}
    return patch
