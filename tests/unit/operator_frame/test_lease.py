from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from taskyard_operator.kube.errors import Conflict, Unreachable
from taskyard_operator.kube.lease import Lease, LeaseLost
from taskyard_operator.kube.resources import JSON, Resource

Run = Callable[[Any], Any]


class Server:
    """One object, with the API server's rule about resourceVersion."""

    def __init__(self) -> None:
        self.spec: JSON | None = None
        self.version = 0
        self.down = False

    async def get(self, resource: Resource, namespace: str, name: str) -> JSON | None:
        await self._trip()
        return None if self.spec is None else self._body()

    async def create(self, resource: Resource, body: JSON) -> JSON:
        await self._trip()
        if self.spec is not None:
            raise Conflict(409, "AlreadyExists", "exists")
        self.spec = dict(body["spec"])
        return self._body()

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: JSON, *, subresource: str = ""
    ) -> JSON:
        await self._trip()
        if patch["metadata"]["resourceVersion"] != str(self.version):
            raise Conflict(409, "Conflict", "changed")
        assert self.spec is not None
        self.version += 1
        self.spec |= patch["spec"]
        return self._body()

    async def _trip(self) -> None:
        await asyncio.sleep(0.01)
        if self.down:
            raise Unreachable(0, "Unreachable", "down")

    def _body(self) -> JSON:
        assert self.spec is not None
        return {"metadata": {"resourceVersion": str(self.version)}, "spec": dict(self.spec)}


def now() -> float:
    return asyncio.get_running_loop().time()


def test_one_holds_and_the_other_takes_over_when_it_dies(hurry: Run) -> None:
    async def main() -> None:
        server = Server()
        first, second = (Lease(server, "ns", "l", name) for name in ("first", "second"))
        await first.acquire()
        holding = asyncio.create_task(first.hold())
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(300)
        assert not waiting.done()
        assert not holding.done()
        holding.cancel()
        died = now()
        await waiting
        assert 10 < now() - died < 20
        assert server.spec is not None
        assert server.spec["holderIdentity"] == "second"
        assert server.spec["leaseTransitions"] == 1

    hurry(main())


def test_a_released_lease_is_free_at_once(hurry: Run) -> None:
    async def main() -> None:
        server = Server()
        first, second = (Lease(server, "ns", "l", name) for name in ("first", "second"))
        await first.acquire()
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(5)
        await first.release()
        released = now()
        await waiting
        assert now() - released < 2.5

    hurry(main())


def test_of_many_exactly_one_wins(hurry: Run) -> None:
    async def main() -> None:
        server = Server()
        tasks = [asyncio.create_task(Lease(server, "ns", "l", str(number)).acquire()) for number in range(5)]
        await asyncio.sleep(10)
        assert sum(task.done() for task in tasks) == 1
        for task in tasks:
            task.cancel()

    hurry(main())


def test_a_holder_that_cannot_renew_stops_before_others_may_take_over(hurry: Run) -> None:
    async def main() -> None:
        server = Server()
        lease = Lease(server, "ns", "l", "me", duration=15, deadline=10)
        await lease.acquire()
        holding = asyncio.create_task(lease.hold())
        await asyncio.sleep(60)
        server.down = True
        down = now()
        with pytest.raises(LeaseLost, match="could not be renewed"):
            await holding
        assert now() - down < 15

    hurry(main())


def test_a_holder_outlives_a_short_outage(hurry: Run) -> None:
    async def main() -> None:
        server = Server()
        lease = Lease(server, "ns", "l", "me")
        await lease.acquire()
        holding = asyncio.create_task(lease.hold())
        await asyncio.sleep(60)
        server.down = True
        await asyncio.sleep(5)
        server.down = False
        await asyncio.sleep(60)
        assert not holding.done()
        holding.cancel()

    hurry(main())


def test_a_lease_taken_by_another_is_lost(hurry: Run) -> None:
    async def main() -> None:
        server = Server()
        lease = Lease(server, "ns", "l", "me")
        await lease.acquire()
        holding = asyncio.create_task(lease.hold())
        await asyncio.sleep(10)
        assert server.spec is not None
        server.spec["holderIdentity"] = "thief"
        server.version += 1
        with pytest.raises(LeaseLost, match="thief has taken the Lease"):
            await holding

    hurry(main())


def test_a_write_by_a_human_is_no_loss(hurry: Run) -> None:
    async def main() -> None:
        server = Server()
        lease = Lease(server, "ns", "l", "me")
        await lease.acquire()
        holding = asyncio.create_task(lease.hold())
        await asyncio.sleep(10)
        server.version += 1
        await asyncio.sleep(60)
        assert not holding.done()
        holding.cancel()

    hurry(main())
