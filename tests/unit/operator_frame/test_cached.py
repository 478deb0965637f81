from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from taskyard_operator.handlers.inventory import Inventory
from taskyard_operator.handlers.translator import Translator
from taskyard_operator.kube.cached import CachedKube, Objects
from taskyard_operator.kube.client import KubeClient
from taskyard_operator.kube.errors import Conflict
from taskyard_operator.kube.resources import DEPLOYMENTS, JSON, SECRETS, TASK_QUEUES, WORKER_POOLS, Resource
from taskyard_operator.reconcile.work_queue import Key


class Server:
    def __init__(self) -> None:
        self.bodies: dict[tuple[Resource, str], JSON] = {}
        self.reads: list[str] = []
        self.lists: list[dict[str, Any]] = []
        self.refusal: Exception | None = None

    async def get(self, resource: Resource, namespace: str, name: str) -> JSON | None:
        self.reads.append(f"{resource.kind} {name}")
        return self.bodies.get((resource, name))

    async def list(self, resource: Resource, namespace: str, **options: Any) -> list[JSON]:
        self.lists.append(options)
        return []

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: JSON, *, subresource: str = ""
    ) -> JSON:
        if self.refusal:
            raise self.refusal
        return self.bodies[resource, name]

    def __getattr__(self, name: str) -> Any:
        return None


def body(name: str = "x", version: str = "1", **metadata: Any) -> JSON:
    return {"metadata": {"namespace": "ns", "name": name, "resourceVersion": version, "uid": "u", **metadata}}


class Setting:
    def __init__(self) -> None:
        self.server = Server()
        self.objects = Objects()
        self.trusted = True
        self.now = 0.0
        self.kube = CachedKube(
            cast(KubeClient, self.server), self.objects, trusted=lambda: self.trusted, clock=lambda: self.now
        )

    def get(self, resource: Resource, name: str = "x") -> JSON | None:
        return asyncio.run(self.kube.get(resource, "ns", name))

    def merge(self, resource: Resource) -> JSON:
        return asyncio.run(self.kube.merge(resource, "ns", "x", {}))


@pytest.fixture
def at() -> Setting:
    return Setting()


@pytest.mark.parametrize("resource", [TASK_QUEUES, WORKER_POOLS])
def test_what_the_watch_showed_is_not_read(at: Setting, resource: Resource) -> None:
    at.objects.note(resource, body(managedFields=[{"much": "text"}]))
    found = at.get(resource)
    assert found == body()
    assert at.server.reads == []
    at.trusted = False
    assert at.get(resource) is None
    assert len(at.server.reads) == 1


def test_only_the_server_says_that_there_is_nothing(at: Setting) -> None:
    at.objects.note(WORKER_POOLS, body())
    at.objects.drop(WORKER_POOLS, "ns", "x")
    at.server.bodies[WORKER_POOLS, "x"] = body(version="5")
    assert at.get(WORKER_POOLS) == body(version="5")


def test_what_a_step_down_depends_on_is_always_read(at: Setting) -> None:
    at.objects.note(DEPLOYMENTS, body())
    assert at.get(DEPLOYMENTS) is None
    assert at.server.reads == ["Deployment x"]


@pytest.mark.parametrize(
    ("kept", "comes", "stays"),
    [("9", "10", "10"), ("10", "9", "10"), ("abc", "abd", "abd")],
)
def test_the_newer_version_stays(at: Setting, kept: str, comes: str, stays: str) -> None:
    at.objects.note(WORKER_POOLS, body(version=kept))
    at.objects.note(WORKER_POOLS, body(version=comes))
    found = at.get(WORKER_POOLS)
    assert found is not None
    assert found["metadata"]["resourceVersion"] == stays


def test_an_object_made_anew_replaces_the_old_one(at: Setting) -> None:
    at.objects.note(WORKER_POOLS, body(version="9"))
    at.objects.note(WORKER_POOLS, body(version="8", uid="other"))
    assert at.get(WORKER_POOLS) == body(version="8", uid="other")


def test_a_pass_reads_what_it_wrote(at: Setting) -> None:
    at.objects.note(WORKER_POOLS, body(version="1"))
    at.server.bodies[WORKER_POOLS, "x"] = body(version="2", finalizers=["f"])
    at.merge(WORKER_POOLS)
    assert at.get(WORKER_POOLS) == body(version="2", finalizers=["f"])


def test_an_object_that_a_write_let_go_is_forgotten(at: Setting) -> None:
    at.objects.note(WORKER_POOLS, body(version="1"))
    at.server.bodies[WORKER_POOLS, "x"] = body(version="2", deletionTimestamp="now")
    at.merge(WORKER_POOLS)
    at.server.bodies.clear()
    assert at.get(WORKER_POOLS) is None


def test_after_a_conflict_the_object_is_read(at: Setting) -> None:
    at.objects.note(WORKER_POOLS, body(version="1"))
    at.server.bodies[WORKER_POOLS, "x"] = body(version="3")
    at.server.refusal = Conflict(409, "Conflict", "changed")
    with pytest.raises(Conflict):
        at.merge(WORKER_POOLS)
    assert at.get(WORKER_POOLS) == body(version="3")


def test_a_secret_is_read_each_half_minute_and_its_absence_each_time(at: Setting) -> None:
    assert at.get(SECRETS) is None
    at.server.bodies[SECRETS, "x"] = body(version="1")
    for at.now in (1.0, 15.0, 30.5):
        assert at.get(SECRETS) == body(version="1")
    at.server.bodies[SECRETS, "x"] = body(version="2")
    at.now = 31.5
    assert at.get(SECRETS) == body(version="2")
    assert len(at.server.reads) == 3


class Nowhere:
    def add(self, key: Key, after: float = 0.0) -> None:
        return


@pytest.mark.parametrize(
    ("resource", "event"),
    [(TASK_QUEUES, Translator.task_queue), (WORKER_POOLS, Translator.worker_pool)],
)
def test_each_event_counts_even_one_that_wakes_nobody(
    at: Setting, resource: Resource, event: Callable[[Translator, str, JSON], None]
) -> None:
    translator = Translator(Nowhere(), Inventory(), at.objects)
    event(translator, "ADDED", body(version="1"))
    event(translator, "MODIFIED", body(version="2"))
    found = at.get(resource)
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "2"
    event(translator, "DELETED", body(version="3"))
    assert at.get(resource) is None


def test_a_glance_lists_from_the_server_s_memory_and_shares_the_rest(at: Setting) -> None:
    glance = at.kube.glance()
    at.objects.note(WORKER_POOLS, body())
    assert asyncio.run(glance.get(WORKER_POOLS, "ns", "x")) == body()
    asyncio.run(glance.list(DEPLOYMENTS, "ns", labels={"a": "b"}))
    asyncio.run(at.kube.list(DEPLOYMENTS, "ns"))
    assert at.server.lists == [{"labels": {"a": "b"}, "recent": True}, {}]
