from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from taskyard_operator.handlers.inventory import Inventory, Name, pool_of
from taskyard_operator.handlers.resync import Resync
from taskyard_operator.handlers.translator import Translator
from taskyard_operator.handlers.watches import kopf_settings
from taskyard_operator.kube.cached import Objects
from taskyard_operator.kube.errors import Unreachable
from taskyard_operator.kube.resources import DEPLOYMENTS, PODS, TASK_QUEUES, WORKER_POOLS, Resource
from taskyard_operator.reconcile.work_queue import Key

Run = Callable[[Any], Any]


class Keys:
    def __init__(self) -> None:
        self.added: list[tuple[str, float]] = []

    def add(self, key: Key, after: float = 0.0) -> None:
        self.added.append((f"{key.kind} {key.namespace}/{key.name}", after))

    def take(self) -> set[str]:
        taken = {key for key, _ in self.added}
        self.added.clear()
        return taken


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def inventory() -> Inventory:
    return Inventory()


@pytest.fixture
def objects() -> Objects:
    return Objects()


@pytest.fixture
def translator(keys: Keys, inventory: Inventory, objects: Objects) -> Translator:
    return Translator(keys, inventory, objects)


def body(name: str, *, queues: Any = None, version: str = "1", **metadata: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "metadata": {"namespace": "ns", "name": name, "resourceVersion": version, "generation": 1, **metadata}
    }
    if queues is not None:
        found["spec"] = {"queues": queues}
    return found


def test_a_queue_brings_the_pools_that_take_from_it(translator: Translator, keys: Keys) -> None:
    translator.worker_pool(None, body("mail", queues=["email", "reports"]))
    translator.worker_pool(None, body("other", queues=["other"]))
    keys.take()
    translator.task_queue("ADDED", body("email"))
    assert keys.take() == {"TaskQueue ns/email", "WorkerPool ns/mail"}
    translator.worker_pool("MODIFIED", body("mail", queues=["reports"], generation=2))
    assert keys.take() == {"WorkerPool ns/mail"}
    translator.task_queue("DELETED", body("email"))
    assert keys.take() == {"TaskQueue ns/email"}
    translator.queue_due(("ns", "reports"))
    assert keys.take() == {"TaskQueue ns/reports", "WorkerPool ns/mail"}
    translator.worker_pool("DELETED", body("mail"))
    assert keys.take() == {"WorkerPool ns/mail"}
    translator.queue_due(("ns", "reports"))
    assert keys.take() == {"TaskQueue ns/reports"}


@pytest.mark.parametrize("queues", [None, "email", 7, {"a": 1}])
def test_a_pool_that_makes_no_sense_is_still_due(translator: Translator, keys: Keys, queues: Any) -> None:
    translator.worker_pool("ADDED", body("odd", queues=queues))
    assert keys.take() == {"WorkerPool ns/odd"}


@pytest.mark.parametrize("kind", ["task_queue", "worker_pool"])
def test_a_change_of_status_alone_is_nothing(translator: Translator, keys: Keys, kind: str) -> None:
    event = getattr(translator, kind)
    event("ADDED", body("x"))
    keys.take()
    event("MODIFIED", body("x", version="2"))
    assert keys.take() == set()
    for change in (
        {"generation": 2},
        {"deletionTimestamp": "now"},
        {"annotations": {"a": "b"}},
        {"labels": {"a": "b"}},
        {"finalizers": ["f"]},
        {"uid": "made anew"},
    ):
        event("MODIFIED", body("x", version="3", **change))
        assert len(keys.take()) == 1, change
    event(None, body("x", version="3", uid="made anew"))
    assert len(keys.take()) == 1, "a listing after a gap says nothing of what was missed"


def test_pods_and_deployments_bring_their_pool_whatever_changed(translator: Translator, keys: Keys) -> None:
    labelled = body("p-1", labels={"taskyard.io/pool": "mail"})
    owner = {"apiVersion": "taskyard.io/v1alpha1", "kind": "WorkerPool", "name": "owned"}
    for type in ("ADDED", "MODIFIED", "MODIFIED", "DELETED"):
        translator.pod(type, labelled)
        assert keys.take() == {"WorkerPool ns/mail"}
        translator.deployment(type, body("d", ownerReferences=[{"kind": "ReplicaSet"}, owner]))
        assert keys.take() == {"WorkerPool ns/owned"}
    translator.pod("ADDED", body("stranger"))
    assert keys.take() == set()
    assert pool_of(body("x", ownerReferences=[{**owner, "apiVersion": "other.io/v1"}])) is None


class Lists:
    """The API server as the resync sees it."""

    def __init__(self) -> None:
        self.found: dict[str, dict[Name, str]] = {}
        self.asked: list[tuple[str, str, Mapping[str, str] | None]] = []
        self.error: Exception | None = None

    async def versions(
        self, resource: Resource, namespace: str, *, labels: Mapping[str, str] | None = None
    ) -> dict[Name, str]:
        self.asked.append((resource.plural, namespace, labels))
        if self.error:
            raise self.error
        return dict(self.found.get(resource.plural, {}))


def make(keys: Keys, inventory: Inventory, translator: Translator, *namespaces: str) -> tuple[Lists, Resync]:
    lists = Lists()
    return lists, Resync(lists, keys, translator, inventory, namespaces=namespaces, period=120, patience=60)


def test_every_resource_is_due_within_the_period_and_spread(
    keys: Keys, inventory: Inventory, translator: Translator, hurry: Run
) -> None:
    lists, resync = make(keys, inventory, translator)
    lists.found["workerpools"] = {("ns", f"pool-{number}"): "1" for number in range(200)}
    for number in range(200):
        translator.worker_pool(None, body(f"pool-{number}"))
    keys.take()
    hurry(resync.check())
    delays = [after for _, after in keys.added]
    assert len(delays) == 200
    assert all(0 <= after < 120 for after in delays)
    assert all(sum(low <= after < low + 30 for after in delays) > 25 for low in (0, 30, 60, 90))
    assert resync.blind() == []


def test_namespaces_and_labels_are_asked_for(
    keys: Keys, inventory: Inventory, translator: Translator, hurry: Run
) -> None:
    lists, resync = make(keys, inventory, translator, "a", "b")
    hurry(resync.check())
    ours = {"app.kubernetes.io/managed-by": "taskyard-operator"}
    assert lists.asked == [
        *[(TASK_QUEUES.plural, namespace, None) for namespace in "ab"],
        *[(WORKER_POOLS.plural, namespace, None) for namespace in "ab"],
        *[(DEPLOYMENTS.plural, namespace, ours) for namespace in "ab"],
        *[(PODS.plural, namespace, ours) for namespace in "ab"],
    ]


def test_ready_when_the_watches_have_shown_the_first_list(
    keys: Keys, inventory: Inventory, translator: Translator, hurry: Run
) -> None:
    async def main() -> None:
        lists, resync = make(keys, inventory, translator)
        lists.found["taskqueues"] = {("ns", "q"): "5"}
        checking = asyncio.create_task(resync.check())
        await asyncio.sleep(10)
        assert not resync.caught_up
        translator.task_queue(None, body("q", version="5"))
        await asyncio.sleep(1)
        assert resync.caught_up
        assert resync.blind() == []
        await checking

    hurry(main())


def test_a_watch_that_misses_things_is_blind_until_it_shows_them(
    keys: Keys, inventory: Inventory, translator: Translator, hurry: Run
) -> None:
    lists, resync = make(keys, inventory, translator)
    translator.worker_pool(None, body("changed", version="5", queues=["q"]))
    translator.worker_pool(None, body("gone", version="5", queues=["q"]))
    translator.pod(None, body("dead", version="5"))
    lists.found["workerpools"] = {("ns", "changed"): "9", ("ns", "new"): "8"}
    keys.take()
    hurry(resync.check())
    assert [line.partition(",")[0] for line in resync.blind()] == [
        "the watch of workerpools missed 3",
        "the watch of pods missed 1",
    ]
    assert {key for key, after in keys.added if after == 0} == {
        "WorkerPool ns/changed",
        "WorkerPool ns/new",
        "WorkerPool ns/gone",
    }
    assert inventory.pools_of(("ns", "q")) == [("ns", "changed")]
    translator.worker_pool("MODIFIED", body("changed", version="10"))
    translator.worker_pool("ADDED", body("new", version="8"))
    hurry(resync.check())
    assert resync.blind() == []


def test_what_comes_and_goes_around_the_list_is_no_blindness(
    keys: Keys, inventory: Inventory, translator: Translator, hurry: Run
) -> None:
    async def main() -> None:
        lists, resync = make(keys, inventory, translator)
        lists.found["pods"] = {("ns", "short"): "5"}
        checking = asyncio.create_task(resync.check())
        await asyncio.sleep(1)
        translator.pod("ADDED", body("late", version="7"))
        lists.found["pods"] = {("ns", "late"): "7"}
        await checking
        assert resync.blind() == []

    hurry(main())


def test_an_api_server_that_is_away_is_asked_again_soon(
    keys: Keys, inventory: Inventory, translator: Translator, hurry: Run
) -> None:
    async def main() -> None:
        lists, resync = make(keys, inventory, translator)
        lists.error = Unreachable(0, "Unreachable", "gone")
        task = asyncio.create_task(resync.run())
        await asyncio.sleep(25)
        assert not resync.caught_up
        lists.error = None
        await asyncio.sleep(10)
        assert resync.caught_up
        assert resync.blind() == []
        task.cancel()

    hurry(main())


def test_kopf_writes_nothing_and_watches_only_ours() -> None:
    settings = kopf_settings()
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    selectors = settings.watching.label_selectors
    assert list(selectors.values()) == ["app.kubernetes.io/managed-by=taskyard-operator"] * 2
