"""Which part gets which: the one place that knows all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import kopf

from taskyard_operator.api import names
from taskyard_operator.brokers.poller import Poller
from taskyard_operator.handlers.inventory import Inventory
from taskyard_operator.handlers.resync import Resync
from taskyard_operator.handlers.translator import Translator
from taskyard_operator.handlers.watches import kopf_settings, registry_for
from taskyard_operator.health import Health
from taskyard_operator.kube.cached import CachedKube, Objects
from taskyard_operator.kube.client import KubeClient
from taskyard_operator.kube.credentials import CredentialSource
from taskyard_operator.kube.secrets import Secrets
from taskyard_operator.reconcile.taskqueue import TaskQueueReconciler
from taskyard_operator.reconcile.work_queue import Key, WorkQueue
from taskyard_operator.reconcile.workerpool import WorkerPoolReconciler
from taskyard_operator.settings import Settings
from taskyard_operator.workers.client import WorkerClient

log = logging.getLogger(__name__)

Service = Callable[[], Coroutine[Any, Any, None]]
"""Something that runs for ever."""


@dataclass(slots=True)
class Operator:
    """All parts, connected but not running."""

    queue: WorkQueue
    health: Health
    registry: kopf.OperatorRegistry
    namespaces: tuple[str, ...]
    services: dict[str, Service]
    closers: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    @property
    def scope(self) -> str:
        """What is served, for a log line."""
        return f"the namespaces {', '.join(self.namespaces)}" if self.namespaces else "all namespaces"

    async def start(self) -> set[asyncio.Task[Any]]:
        """Start everything; none of the tasks ends by itself unless something is wrong."""
        tasks: set[asyncio.Task[Any]] = {
            asyncio.create_task(service(), name=name) for name, service in self.services.items()
        }
        tasks.add(asyncio.create_task(self.queue.run(), name="the work queue"))
        # Not kopf.operator(): at its end that cancels every task begun after it, also those not its own.
        tasks |= set(
            await kopf.spawn_tasks(
                registry=self.registry,
                settings=kopf_settings(),
                namespaces=self.namespaces,
                clusterwide=not self.namespaces,
                standalone=True,
            )
        )
        return tasks

    async def stop(self, tasks: set[asyncio.Task[Any]], *, grace: float) -> None:
        """Begin no more passes, let those under way end within ``grace`` seconds, then stop the rest."""
        await self.queue.stop(grace)
        for task in tasks:
            task.cancel()
        _, left = await asyncio.wait(tasks, timeout=5)
        for task in left:
            log.warning("%s did not stop in time", task.get_name())

    async def close(self) -> None:
        """Close the connections."""
        for closer in self.closers:
            await closer()


def assemble(client: KubeClient, source: CredentialSource, settings: Settings) -> Operator:
    """Connect the parts. Nothing runs and nothing connects yet."""
    inventory = Inventory()
    workers = WorkerClient()
    # The poller wakes passes, and passes ask the poller: the queue between them is made after both.
    poller = Poller(
        Secrets(client), on_sample=lambda namespace, name: translator.queue_due((namespace, name))
    )
    objects = Objects()
    kube = CachedKube(client, objects, trusted=lambda: not resync.blind())
    queues = TaskQueueReconciler(
        kube,
        poller,
        namespaces=settings.namespaces,
        wake=lambda namespace, name: queue.add(Key(names.TASKQUEUE_KIND, namespace, name)),
    )
    pools = WorkerPoolReconciler(kube, workers, poller, glance=kube.glance())
    queue = WorkQueue({names.TASKQUEUE_KIND: queues.reconcile, names.WORKERPOOL_KIND: pools.reconcile})
    translator = Translator(queue, inventory, objects)
    resync = Resync(client, queue, translator, inventory, namespaces=settings.namespaces)
    health = Health(queue, resync)
    return Operator(
        queue=queue,
        health=health,
        registry=registry_for(translator, source),
        namespaces=settings.namespaces,
        services={"the resync": resync.run, "the heartbeat": health.beat},
        closers=[poller.close, workers.close],
    )
