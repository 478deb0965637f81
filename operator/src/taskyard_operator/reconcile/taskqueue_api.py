"""What passes over TaskQueues need of the API server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from taskyard_operator.kube.resources import JSON, Resource


class KubeApi(Protocol):
    """The calls of :class:`taskyard_operator.kube.client.KubeClient` that are used."""

    async def get(self, resource: Resource, namespace: str, name: str) -> JSON | None:
        """One object, or None."""
        ...

    async def list(
        self, resource: Resource, namespace: str, *, labels: Mapping[str, str] | None = None
    ) -> list[JSON]:
        """The objects of a namespace, or of all if it is empty."""
        ...

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: JSON, *, subresource: str = ""
    ) -> JSON:
        """A JSON merge patch."""
        ...

    async def event(self, about: JSON, *, type: str, reason: str, message: str) -> None:
        """Tell the user something about an object."""
        ...
