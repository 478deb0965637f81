"""What reconcilers need of the outside, so that a simulation can stand in for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from taskyard_operator.core.queue import QueueSample
from taskyard_operator.core.state import WorkerState
from taskyard_operator.kube.resources import JSON, Resource


class Kube(Protocol):
    """The API server; :class:`taskyard_operator.kube.client.KubeClient` says what each call means."""

    async def get(self, resource: Resource, namespace: str, name: str) -> JSON | None:
        """One object, or None."""
        ...

    async def list(
        self, resource: Resource, namespace: str, *, labels: Mapping[str, str] | None = None
    ) -> list[JSON]:
        """The objects with these labels."""
        ...

    async def create(self, resource: Resource, body: JSON) -> JSON:
        """Make an object; Conflict if it is there."""
        ...

    async def apply(self, resource: Resource, body: JSON) -> JSON:
        """Server-side apply."""
        ...

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: JSON, *, subresource: str = ""
    ) -> JSON:
        """Merge patch; resourceVersion and uid in it are preconditions."""
        ...

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        """Set the replicas."""
        ...

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
        propagation: str | None = None,
    ) -> None:
        """Delete an object, if the preconditions hold."""
        ...

    async def event(self, about: JSON, *, type: str, reason: str, message: str) -> None:
        """Tell the user."""
        ...


class Workers(Protocol):
    """Worker pods; :class:`taskyard_operator.workers.client.WorkerClient` says what each call means."""

    async def state(self, address: str) -> WorkerState:
        """What the worker does."""
        ...

    async def drain(self, address: str, token: str) -> WorkerState:
        """Stop consuming."""
        ...

    async def resume(self, address: str, token: str) -> WorkerState:
        """Consume again."""
        ...


class Samples(Protocol):
    """Queue depths; :class:`taskyard_operator.brokers.poller.Poller` has them."""

    def sample(self, namespace: str, task_queue: str) -> QueueSample | None:
        """The latest poll of a TaskQueue."""
        ...

    def broker_key(self, namespace: str, task_queue: str) -> str | None:
        """Which broker a TaskQueue is on."""
        ...
