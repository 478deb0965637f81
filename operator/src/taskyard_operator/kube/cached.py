"""The API server, with what the watches and earlier reads have told already.

Passes read the same few objects again and again. TaskQueues and WorkerPools come from the watch, which wakes
a pass for each change of them; a pool's token comes from a read up to half a minute ago. Everything that a
step down depends on (Deployments, ReplicaSets, pods) is always read anew.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

from taskyard_operator.kube.client import KubeClient
from taskyard_operator.kube.errors import Conflict, NotFound
from taskyard_operator.kube.resources import JSON, SECRETS, TASK_QUEUES, WORKER_POOLS, Resource

WATCHED = frozenset({TASK_QUEUES, WORKER_POOLS})
SECRET_AGE = 30.0
"""Seconds for which a Secret that was read is taken for what it is."""

_Key = tuple[Resource, str, str]


class Objects:
    """The newest version that was seen of each watched object."""

    def __init__(self) -> None:
        self._bodies: dict[_Key, JSON] = {}

    def note(self, resource: Resource, body: Mapping[str, Any]) -> None:
        """Keep an object, unless a newer version of it is kept."""
        metadata = body["metadata"]
        key = (resource, str(metadata.get("namespace") or ""), str(metadata["name"]))
        known = self._bodies.get(key)
        if known is None or known["metadata"].get("uid") != metadata.get("uid") or _newer(body, known):
            slim = {part: value for part, value in metadata.items() if part != "managedFields"}
            self._bodies[key] = {**body, "metadata": slim}

    def drop(self, resource: Resource, namespace: str, name: str) -> None:
        """Forget an object that is gone."""
        self._bodies.pop((resource, namespace, name), None)

    def get(self, resource: Resource, namespace: str, name: str) -> JSON | None:
        """The object, or None if it is not kept (which does not say that it does not exist)."""
        return self._bodies.get((resource, namespace, name))


class CachedKube:
    """A client that answers :meth:`get` from ``objects`` where it can. What it returns is not to be changed.

    All other calls are those of :class:`~taskyard_operator.kube.client.KubeClient`.

    ``trusted`` says whether the watches see at all; while they do not, everything is read anew.
    """

    def __init__(
        self,
        client: KubeClient,
        objects: Objects,
        *,
        trusted: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self.list, self.create, self.apply = client.list, client.create, client.apply
        self.scale, self.delete, self.event = client.scale, client.delete, client.event
        self._objects, self._trusted, self._clock = objects, trusted, clock
        self._secrets: dict[tuple[str, str], tuple[float, JSON]] = {}

    async def get(self, resource: Resource, namespace: str, name: str) -> JSON | None:
        """One object, or None if there is none: that is never said from memory."""
        if resource in WATCHED:
            if self._trusted() and (known := self._objects.get(resource, namespace, name)) is not None:
                return known
            return await self._client.get(resource, namespace, name)
        if resource is not SECRETS:
            return await self._client.get(resource, namespace, name)
        now = self._clock()
        read, secret = self._secrets.get((namespace, name), (float("-inf"), {}))
        if now - read < SECRET_AGE:
            return secret
        found = await self._client.get(resource, namespace, name)
        self._secrets.pop((namespace, name), None)
        if found is not None:
            self._secrets[namespace, name] = (now, found)
            self._forget_old(now)
        return found

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: JSON, *, subresource: str = ""
    ) -> JSON:
        """A merge patch; the next read knows of it."""
        try:
            answer = await self._client.merge(resource, namespace, name, patch, subresource=subresource)
        except (Conflict, NotFound):
            self._objects.drop(resource, namespace, name)  # what is kept is out of date
            raise
        if resource in WATCHED and subresource in ("", "status"):
            if answer["metadata"].get("deletionTimestamp") and not answer["metadata"].get("finalizers"):
                self._objects.drop(resource, namespace, name)
            else:
                self._objects.note(resource, answer)
        return answer

    def glance(self) -> CachedKube:
        """The same, whose lists may be a moment old: enough to see that there is nothing to do."""
        other = copy.copy(self)
        other.list = functools.partial(self._client.list, recent=True)
        return other

    def _forget_old(self, now: float) -> None:
        for key in [key for key, (read, _) in self._secrets.items() if now - read >= SECRET_AGE]:
            del self._secrets[key]


def _newer(body: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    fresh, old = (str(item["metadata"].get("resourceVersion") or "") for item in (body, known))
    if fresh.isdigit() and old.isdigit():
        return int(fresh) >= int(old)
    return True
