"""Events in, keys out. No pass is made here, and nothing is decided here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from taskyard_operator import metrics
from taskyard_operator.api import names
from taskyard_operator.handlers.inventory import Inventory, Name, name_of, pool_of
from taskyard_operator.kube.cached import Objects
from taskyard_operator.kube.resources import DEPLOYMENTS, PODS, TASK_QUEUES, WORKER_POOLS, Resource
from taskyard_operator.reconcile.work_queue import Key

log = logging.getLogger(__name__)

DELETED = "DELETED"
MODIFIED = "MODIFIED"


class Keys(Protocol):
    """Where keys go: the work queue."""

    def add(self, key: Key, after: float = 0.0) -> None:
        """See :meth:`taskyard_operator.reconcile.work_queue.WorkQueue.add`."""
        ...


class Translator:
    """Turns what the watches and the brokers tell into keys.

    ``type`` is the watch event's: ADDED, MODIFIED or DELETED, and None for an object of a first listing.
    """

    def __init__(self, keys: Keys, inventory: Inventory, objects: Objects) -> None:
        self._keys = keys
        self._inventory = inventory
        self._objects = objects

    def task_queue(self, type: str | None, body: Mapping[str, Any]) -> None:
        """A TaskQueue came, changed or went: it is due, and so are the pools that take from it."""
        metrics.WATCH_EVENTS.inc(names.TASKQUEUE_PLURAL)
        queue = name_of(body)
        if type == DELETED:
            self._inventory.queues.drop(queue)
            self._objects.drop(TASK_QUEUES, *queue)
            metrics.forget_queue(*queue)
        else:
            self._objects.note(TASK_QUEUES, body)
            if not self._inventory.queues.note(body) and type == MODIFIED:
                return
        self.queue_due(queue)

    def worker_pool(self, type: str | None, body: Mapping[str, Any]) -> None:
        """A WorkerPool came, changed or went: it is due."""
        metrics.WATCH_EVENTS.inc(names.WORKERPOOL_PLURAL)
        pool = name_of(body)
        if type == DELETED:
            self._inventory.drop_pool(pool)
            self._objects.drop(WORKER_POOLS, *pool)
            metrics.forget_pool(*pool)
        else:
            self._objects.note(WORKER_POOLS, body)
            if not self._inventory.note_pool(body) and type == MODIFIED:
                return
        self.pool_due(pool)

    def deployment(self, type: str | None, body: Mapping[str, Any]) -> None:
        """A Deployment of a pool changed: the pool is due."""
        self._child(DEPLOYMENTS, type, body)

    def pod(self, type: str | None, body: Mapping[str, Any]) -> None:
        """A pod of a pool changed: the pool is due."""
        self._child(PODS, type, body)

    def queue_due(self, queue: Name) -> None:
        """A TaskQueue and the pools that take from it are due (its broker was polled, say)."""
        self._keys.add(Key(names.TASKQUEUE_KIND, *queue))
        for pool in self._inventory.pools_of(queue):
            self.pool_due(pool)

    def pool_due(self, pool: Name) -> None:
        """A WorkerPool is due."""
        self._keys.add(Key(names.WORKERPOOL_KIND, *pool))

    def _child(self, resource: Resource, type: str | None, body: Mapping[str, Any]) -> None:
        metrics.WATCH_EVENTS.inc(resource.plural)
        seen = self._inventory.pods if resource is PODS else self._inventory.deployments
        if type == DELETED:
            seen.drop(name_of(body))
        else:
            seen.note(body)
        if pool := pool_of(body):
            self.pool_due(pool)
