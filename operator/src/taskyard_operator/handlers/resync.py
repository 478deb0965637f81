"""The second pair of eyes: a list now and then repairs drift and shows whether the watches still see.

A watch can die without a word, and what happened while it reconnected is known only by listing again.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Mapping
from typing import Protocol

from taskyard_operator.handlers.inventory import Inventory, Name, Seen
from taskyard_operator.handlers.translator import DELETED, Keys, Translator
from taskyard_operator.handlers.watches import OURS
from taskyard_operator.kube.errors import KubeError
from taskyard_operator.kube.resources import DEPLOYMENTS, JSON, PODS, TASK_QUEUES, WORKER_POOLS, Resource
from taskyard_operator.reconcile.work_queue import Key

log = logging.getLogger(__name__)

_LOOK_AGAIN = 0.5
_GONE = ""
"""In place of a version: the watch has shown the object, but it is not listed."""


class Versions(Protocol):
    """What is needed of the API server."""

    async def versions(
        self, resource: Resource, namespace: str, *, labels: Mapping[str, str] | None = None
    ) -> dict[Name, str]:
        """See :meth:`taskyard_operator.kube.client.KubeClient.versions`."""
        ...


class Resync:
    """Lists what is watched each ``period`` seconds.

    Every TaskQueue and WorkerPool gets a pass within the period, spread by its name, whatever was seen.
    Where the list holds what a watch has not shown ``patience`` seconds later, that watch counts as blind.
    """

    def __init__(
        self,
        api: Versions,
        keys: Keys,
        translator: Translator,
        inventory: Inventory,
        *,
        namespaces: tuple[str, ...],
        period: float = 120.0,
        patience: float = 60.0,
    ) -> None:
        self._api, self._keys, self._translator, self._inventory = api, keys, translator, inventory
        self._namespaces = namespaces or ("",)
        self._period, self._patience = period, patience
        self._blind: dict[str, str] = {}
        self.caught_up = False
        """Whether the watches have shown all that the first list held."""

    def blind(self) -> list[str]:
        """The watches that missed something, each with an example."""
        return list(self._blind.values())

    async def run(self) -> None:
        """List and compare for ever."""
        while True:
            try:
                await self.check()
                pause = self._period
            except KubeError as problem:
                log.warning("cannot list the watched resources: %s", problem)
                pause = min(self._period, 10.0)
            await asyncio.sleep(pause)

    async def check(self) -> None:
        """List once, plan the passes, and wait until the watches have shown what was listed."""
        missed: dict[Resource, dict[Name, str]] = {}
        for resource, seen in self._watched():
            known = set(seen.versions)
            listed = await self._list(resource)
            if resource in (TASK_QUEUES, WORKER_POOLS):
                for name in listed:
                    self._plan(Key(resource.kind, *name))
            missed[resource] = {**listed, **dict.fromkeys(known - set(listed), _GONE)}
        for _ in range(round(self._patience / _LOOK_AGAIN)):
            if not self._unseen(missed):
                break
            await asyncio.sleep(_LOOK_AGAIN)
        await self._confirm(missed)
        self._judge(missed)
        self.caught_up = True

    def _watched(self) -> tuple[tuple[Resource, Seen], ...]:
        inventory = self._inventory
        return (
            (TASK_QUEUES, inventory.queues),
            (WORKER_POOLS, inventory.pools),
            (DEPLOYMENTS, inventory.deployments),
            (PODS, inventory.pods),
        )

    async def _list(self, resource: Resource) -> dict[Name, str]:
        labels = OURS if resource in (DEPLOYMENTS, PODS) else None
        found: dict[Name, str] = {}
        for namespace in self._namespaces:
            found |= await self._api.versions(resource, namespace, labels=labels)
        return found

    def _unseen(self, missed: dict[Resource, dict[Name, str]]) -> bool:
        """Strike off what the watches have shown meanwhile; whether anything is left."""
        for resource, seen in self._watched():
            left = missed.get(resource, {})
            for name, version in list(left.items()):
                if _shown(seen.versions.get(name), version):
                    del left[name]
        return any(missed.values())

    async def _confirm(self, missed: dict[Resource, dict[Name, str]]) -> None:
        """Strike off what came or went so quickly after the list that the watch is right to say otherwise."""
        for resource, left in missed.items():
            if not left:
                continue
            listed = await self._list(resource)
            for name, version in list(left.items()):
                if (name in listed) == (version == _GONE):
                    del left[name]

    def _judge(self, missed: dict[Resource, dict[Name, str]]) -> None:
        for resource, left in missed.items():
            if not left:
                if self._blind.pop(resource.plural, None):
                    log.info("the watch of %s sees again", resource.plural)
                continue
            (namespace, name), _ = next(iter(left.items()))
            what = f"the watch of {resource.plural} missed {len(left)}, such as {namespace}/{name}"
            log.warning("%s", what)
            self._blind[resource.plural] = what
            for (namespace, name), version in left.items():
                self._tell(resource, namespace, name, gone=version == _GONE)

    def _tell(self, resource: Resource, namespace: str, name: str, *, gone: bool) -> None:
        """Act on what the watch should have said."""
        body: JSON = {"metadata": {"namespace": namespace, "name": name}}
        if resource is TASK_QUEUES:
            if gone:
                self._translator.task_queue(DELETED, body)
            else:
                self._translator.queue_due((namespace, name))
        elif resource is WORKER_POOLS:
            if gone:
                self._translator.worker_pool(DELETED, body)
            else:
                self._translator.pool_due((namespace, name))
        elif gone:
            seen = self._inventory.pods if resource is PODS else self._inventory.deployments
            seen.drop((namespace, name))

    def _plan(self, key: Key) -> None:
        share = zlib.crc32(str(key).encode()) / 2**32
        self._keys.add(key, after=share * self._period)


def _shown(seen: str | None, listed: str) -> bool:
    if listed == _GONE:
        return seen is None
    if seen is None:
        return False
    if seen.isdigit() and listed.isdigit():
        return int(seen) >= int(listed)
    return seen == listed
