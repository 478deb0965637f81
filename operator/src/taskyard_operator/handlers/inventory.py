"""What the watches have told so far: which resources exist, and which pools take from which queue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from taskyard_operator.api import names

Name = tuple[str, str]
"""Namespace and name."""


def name_of(body: Mapping[str, Any]) -> Name:
    """Namespace and name of an object."""
    metadata = body["metadata"]
    return str(metadata.get("namespace") or ""), str(metadata["name"])


def pool_of(body: Mapping[str, Any]) -> Name | None:
    """The pool that a pod or a Deployment belongs to: by its label, or else by its owner."""
    metadata = body["metadata"]
    namespace = str(metadata.get("namespace") or "")
    if pool := (metadata.get("labels") or {}).get(names.LABEL_POOL):
        return namespace, str(pool)
    for owner in metadata.get("ownerReferences") or []:
        if owner.get("kind") == names.WORKERPOOL_KIND and str(owner.get("apiVersion")).startswith(
            names.GROUP
        ):
            return namespace, str(owner["name"])
    return None


@dataclass(slots=True)
class Seen:
    """The versions of one resource type that the watch has shown, by namespace and name."""

    versions: dict[Name, str] = field(default_factory=dict)
    _intents: dict[Name, str] = field(default_factory=dict)

    def note(self, body: Mapping[str, Any]) -> bool:
        """Remember an object; whether more than its status is new.

        A status is written by the operator itself: a pass for it would be one for nothing.
        """
        name, metadata = name_of(body), body["metadata"]
        parts = ("uid", "generation", "deletionTimestamp", "finalizers", "labels", "annotations")
        intent = repr([metadata.get(part) for part in parts])
        changed = self._intents.get(name) != intent
        self._intents[name] = intent
        self.versions[name] = str(metadata.get("resourceVersion"))
        return changed

    def drop(self, name: Name) -> None:
        """Forget an object that is gone."""
        self._intents.pop(name, None)
        self.versions.pop(name, None)


class Inventory:
    """The watched resources, and the index from queues to the pools that consume them."""

    def __init__(self) -> None:
        self.queues = Seen()
        self.pools = Seen()
        self.deployments = Seen()
        self.pods = Seen()
        self._queues_of: dict[Name, frozenset[str]] = {}
        self._pools_of: dict[Name, set[str]] = {}

    def note_pool(self, body: Mapping[str, Any]) -> bool:
        """Remember a WorkerPool and its queues; whether more than its status is new."""
        pool = name_of(body)
        queues = frozenset(str(queue) for queue in _queues(body))
        if queues != self._queues_of.get(pool):
            self._unlink(pool)
            self._queues_of[pool] = queues
            for queue in queues:
                self._pools_of.setdefault((pool[0], queue), set()).add(pool[1])
        return self.pools.note(body)

    def drop_pool(self, pool: Name) -> None:
        """Forget a WorkerPool that is gone."""
        self._unlink(pool)
        self.pools.drop(pool)

    def pools_of(self, queue: Name) -> list[Name]:
        """The pools that take from a TaskQueue, which are in its namespace."""
        return [(queue[0], pool) for pool in sorted(self._pools_of.get(queue, ()))]

    def _unlink(self, pool: Name) -> None:
        for queue in self._queues_of.pop(pool, frozenset()):
            pools = self._pools_of[pool[0], queue]
            pools.discard(pool[1])
            if not pools:
                del self._pools_of[pool[0], queue]


def _queues(body: Mapping[str, Any]) -> Iterable[Any]:
    queues = (body.get("spec") or {}).get("queues")
    return queues if isinstance(queues, list) else ()
