"""One of several replicas works: the one that holds a Lease (coordination.k8s.io/v1).

As in client-go, a foreign Lease counts as lapsed when it has not changed for its duration by the local
clock: the clocks of two machines are never compared.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Protocol

from taskyard_operator.kube.errors import Conflict, KubeError, Unreachable
from taskyard_operator.kube.resources import JSON, LEASES, Resource

log = logging.getLogger(__name__)


class _Api(Protocol):
    async def get(self, resource: Resource, namespace: str, name: str) -> JSON | None: ...

    async def create(self, resource: Resource, body: JSON) -> JSON: ...

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: JSON, *, subresource: str = ""
    ) -> JSON: ...


class LeaseLost(Exception):  # noqa: N818 - an event, not a mistake
    """Another replica may be working: this one must stop at once."""


class Lease:
    """Acquire, hold, release. All times are in seconds.

    The holder renews each ``retry``; it gives up after ``deadline`` without success, which is before others
    may take over after ``duration``.
    """

    def __init__(
        self,
        api: _Api,
        namespace: str,
        name: str,
        identity: str,
        *,
        duration: float = 15.0,
        deadline: float = 10.0,
        retry: float = 2.0,
    ) -> None:
        self._api, self._namespace, self._name, self.identity = api, namespace, name, identity
        self._duration, self._deadline, self._retry = duration, deadline, retry
        self._version: str | None = None
        self._seen: tuple[str, float] = ("", 0.0)
        self._transitions = 0

    async def acquire(self) -> None:
        """Wait until this replica holds the Lease."""
        told = ""
        while True:
            try:
                holder = await self._try()
            except Conflict:
                holder = "another replica"  # it was quicker
            except Unreachable as problem:
                log.warning("cannot ask for the Lease %s/%s: %s", self._namespace, self._name, problem)
                holder = told
            if holder is None:
                log.info("this replica holds the Lease %s/%s", self._namespace, self._name)
                return
            if holder != told:
                log.info("standing by: %s holds the Lease %s/%s", holder, self._namespace, self._name)
                told = holder
            await asyncio.sleep(self._retry)

    async def hold(self) -> None:
        """Renew for ever. Raises :class:`LeaseLost`."""
        renewed = self._now()
        while True:
            await asyncio.sleep(self._retry)
            left = self._deadline - (self._now() - renewed)
            try:
                async with asyncio.timeout(max(left, 0.0)):
                    answer = await self._write({"renewTime": _time()})
            except Conflict:
                holder = await self._holder()
                if holder != self.identity:
                    raise LeaseLost(f"{holder or 'another replica'} has taken the Lease") from None
                continue  # written by our own attempt whose answer was lost, or by a human
            except (KubeError, TimeoutError) as problem:
                if self._now() - renewed >= self._deadline:
                    raise LeaseLost(f"the Lease could not be renewed for {self._deadline:.0f} s") from problem
                continue
            renewed = self._now()
            self._version = answer["metadata"]["resourceVersion"]

    async def release(self) -> None:
        """Let another replica take over at once; it waits for the duration otherwise."""
        try:
            await self._write({"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _time()})
        except KubeError as problem:
            log.info("the Lease was not released: %s", problem)

    async def _try(self) -> str | None:
        """Take the Lease if it is free; None, or who holds it."""
        found = await self._api.get(LEASES, self._namespace, self._name)
        if found is None:
            body: JSON = {
                "metadata": {"namespace": self._namespace, "name": self._name},
                "spec": self._mine(),
            }
            self._version = (await self._api.create(LEASES, body))["metadata"]["resourceVersion"]
            return None
        spec, version = found.get("spec") or {}, found["metadata"]["resourceVersion"]
        holder = spec.get("holderIdentity") or ""
        if version != self._seen[0]:
            self._seen = (version, self._now())
        lasts = float(spec.get("leaseDurationSeconds") or self._duration)
        if holder not in ("", self.identity) and self._now() - self._seen[1] < lasts:
            return str(holder)
        self._version = version
        self._transitions = int(spec.get("leaseTransitions") or 0) + (holder != self.identity)
        self._version = (await self._write(self._mine()))["metadata"]["resourceVersion"]
        return None

    async def _write(self, spec: JSON) -> JSON:
        patch: JSON = {"metadata": {"resourceVersion": self._version}, "spec": spec}
        return await self._api.merge(LEASES, self._namespace, self._name, patch)

    async def _holder(self) -> str:
        found = await self._api.get(LEASES, self._namespace, self._name)
        if found is None:
            return ""
        self._version = found["metadata"]["resourceVersion"]
        return str((found.get("spec") or {}).get("holderIdentity") or "")

    def _mine(self) -> JSON:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": round(self._duration),
            "acquireTime": _time(),
            "renewTime": _time(),
            "leaseTransitions": self._transitions,
        }

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _time() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
