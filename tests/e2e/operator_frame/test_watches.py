"""The frame against a real API server: an event becomes a key, and nothing is written to any object."""

# ruff: noqa: ASYNC110 - a real server is asked until it says so

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from taskyard_operator.handlers.inventory import Inventory
from taskyard_operator.handlers.resync import Resync
from taskyard_operator.handlers.translator import Translator
from taskyard_operator.handlers.watches import registry_for
from taskyard_operator.health import Health
from taskyard_operator.kube.cached import Objects
from taskyard_operator.kube.client import KubeClient
from taskyard_operator.kube.credentials import CredentialSource
from taskyard_operator.kube.resources import DEPLOYMENTS, JSON, PODS, TASK_QUEUES, WORKER_POOLS
from taskyard_operator.reconcile.work_queue import Key, WorkQueue
from taskyard_operator.wiring import Operator

pytestmark = pytest.mark.cluster

POOL = {"app": "shop:app", "image": "none", "queues": ["email"]}


class Watched:
    """The frame with reconcilers that only note what they were called for."""

    def __init__(self, client: KubeClient, source: CredentialSource, namespace: str) -> None:
        self.passes: list[str] = []
        self.client = client
        inventory = Inventory()
        queue = WorkQueue({"TaskQueue": self._noting("TaskQueue"), "WorkerPool": self._noting("WorkerPool")})
        translator = Translator(queue, inventory, Objects())
        self.resync = Resync(client, queue, translator, inventory, namespaces=(namespace,), period=3600)
        self.operator = Operator(
            queue=queue,
            health=Health(queue, self.resync),
            registry=registry_for(translator, source),
            namespaces=(namespace,),
            services={"resync": self.resync.run},
        )

    def _noting(self, kind: str) -> Callable[[str, str], Awaitable[float | None]]:
        async def reconcile(namespace: str, name: str) -> None:
            self.passes.append(str(Key(kind, "", name)).replace("/", ""))

        return reconcile

    def take(self) -> list[str]:
        taken = self.passes[:]
        self.passes.clear()
        return taken

    async def until(self, *keys: str, within: float) -> None:
        """Wait until all of these had a pass."""
        async with asyncio.timeout(within):
            while not set(keys) <= set(self.passes):
                await asyncio.sleep(0.01)

    async def quiet(self, seconds: float = 2) -> None:
        """Wait until no pass was made for so long, and forget what there was."""
        self.take()
        async with asyncio.timeout(120):
            while not await asyncio.sleep(seconds, True) or self.take():
                pass


@asynccontextmanager
async def watching(kubeconfig: Path, namespace: str) -> AsyncIterator[Watched]:
    source = CredentialSource(kubeconfig=str(kubeconfig))
    async with KubeClient(source) as client:
        watched = Watched(client, source, namespace)
        tasks = await watched.operator.start()
        async with asyncio.timeout(60):
            while not watched.resync.caught_up:
                await asyncio.sleep(0.05)
        try:
            yield watched
        finally:
            await watched.operator.stop(tasks, grace=5)


def body(name: str, namespace: str, spec: JSON, **metadata: Any) -> JSON:
    return {"metadata": {"name": name, "namespace": namespace, **metadata}, "spec": spec}


def test_events_become_keys_and_nothing_is_written(kubeconfig: Path, namespace: str) -> None:
    async def main() -> None:
        async with watching(kubeconfig, namespace) as watched:
            client = watched.client
            await client.create(WORKER_POOLS, body("mail", namespace, POOL))
            await watched.until("WorkerPool mail", within=60)
            await asyncio.sleep(1)
            watched.take()

            queue = await client.create(TASK_QUEUES, body("email", namespace, {"messageTTL": "1h"}))
            await watched.until("TaskQueue email", "WorkerPool mail", within=60)
            await asyncio.sleep(1)
            assert sorted(watched.take()) == ["TaskQueue email", "WorkerPool mail"]

            status = {"status": {"observedGeneration": queue["metadata"]["generation"]}}
            await client.merge(TASK_QUEUES, namespace, "email", status, subresource="status")
            await asyncio.sleep(1.5)
            assert watched.take() == []

            changed = {"spec": {"messageTTL": "2h"}}
            await client.merge(TASK_QUEUES, namespace, "email", changed)
            await watched.until("TaskQueue email", within=60)

            labels = {"app.kubernetes.io/managed-by": "taskyard-operator", "taskyard.io/pool": "mail"}
            template = {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [{"name": "worker", "image": "none"}],
                    "nodeSelector": {"taskyard.test/nowhere": "true"},
                },
            }
            await asyncio.sleep(1)
            watched.take()
            spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
            await client.create(DEPLOYMENTS, body("mail-1", namespace, spec, labels=labels))
            await watched.until("WorkerPool mail", within=60)
            async with asyncio.timeout(30):
                while not await client.list(PODS, namespace, labels=labels):
                    await asyncio.sleep(0.1)
            await asyncio.sleep(1)
            watched.take()
            (pod,) = await client.list(PODS, namespace, labels=labels)
            await client.delete(PODS, namespace, pod["metadata"]["name"], grace_seconds=0)
            await watched.until("WorkerPool mail", within=60)

            await client.delete(DEPLOYMENTS, namespace, "mail-1")
            async with asyncio.timeout(60):
                while await client.list(PODS, namespace, labels=labels):
                    await asyncio.sleep(0.1)
            await client.delete(TASK_QUEUES, namespace, "email")
            await client.delete(WORKER_POOLS, namespace, "mail")
            await watched.quiet()
            await client.create(TASK_QUEUES, body("email", namespace, {}))
            await watched.until("TaskQueue email", within=60)
            assert watched.take() == ["TaskQueue email"]  # the pool is out of the index
            found = await client.get(TASK_QUEUES, namespace, "email")
            assert found is not None
            assert {"annotations", "finalizers"}.isdisjoint(found["metadata"])

    asyncio.run(main())


def test_what_is_there_at_the_start_is_due(kubeconfig: Path, namespace: str) -> None:
    async def main() -> None:
        async with KubeClient(CredentialSource(kubeconfig=str(kubeconfig))) as client:
            for number in range(30):
                await client.create(TASK_QUEUES, body(f"q{number}", namespace, {}))
        async with watching(kubeconfig, namespace) as watched:
            await watched.until(*(f"TaskQueue q{number}" for number in range(30)), within=60)
            assert watched.operator.health.unready() == []
            assert watched.operator.health.dead() == []

    asyncio.run(main())


def test_a_change_made_while_the_line_was_cut_is_seen_after(
    kubeconfig: Path, namespace: str, through_line: Any
) -> None:
    async def main() -> None:
        line, cut_config = await through_line()
        async with (
            KubeClient(CredentialSource(kubeconfig=str(kubeconfig))) as direct,
            watching(cut_config, namespace) as watched,
        ):
            await direct.create(TASK_QUEUES, body("gone", namespace, {}))
            await watched.until("TaskQueue gone", within=60)
            for cut in (line.drop, line.hang):
                watched.take()
                line.hang()
                cut()
                await direct.create(TASK_QUEUES, body(f"made-{cut.__name__}", namespace, {}))
                await asyncio.sleep(3)
                assert watched.take() == []
                line.mend()
                await watched.until(f"TaskQueue made-{cut.__name__}", within=60)
        await line.close()

    asyncio.run(main())
