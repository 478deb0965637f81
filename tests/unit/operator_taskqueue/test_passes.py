"""Passes over TaskQueues with an API server and brokers in memory, and a clock that the test turns."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from taskyard_operator.api.names import FINALIZER_BROKER_QUEUE, QueueReason
from taskyard_operator.brokers.base import BrokerError, QueueWatch
from taskyard_operator.core.queue import BrokerFailure, QueueDepth, QueueSample
from taskyard_operator.core.queue_plan import BrokerFamily, EnsureResult, QueuePlan, RemovalResult
from taskyard_operator.kube.errors import Conflict
from taskyard_operator.reconcile.taskqueue import TaskQueueReconciler
from tests.unit.operator_taskqueue.fake_kube import FakeKube

EMPTY = QueueDepth(0, 0, 0)
DOWN = BrokerFailure(QueueReason.UNREACHABLE, "away")
MISSING = BrokerFailure(QueueReason.QUEUE_NOT_FOUND, "no queue")


@dataclass
class FakeBroker:
    identity: str = "rabbitmq://host/"
    family: BrokerFamily = BrokerFamily.RABBITMQ
    outcome: Any = field(default_factory=EnsureResult)
    removal: RemovalResult = field(default_factory=RemovalResult)
    ensured: list[QueuePlan] = field(default_factory=list)
    removed: list[tuple[str, bool, bool, bool]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def ensure(self, plan: QueuePlan) -> EnsureResult:
        self.ensured.append(plan)
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        assert isinstance(self.outcome, EnsureResult)
        return self.outcome

    async def remove(self, plan: QueuePlan, *, queue: bool, if_empty: bool = True) -> RemovalResult:
        self.removed.append((plan.queue.name, queue, if_empty, plan.dead is not None))
        return self.removal


class FakePoller:
    def __init__(self) -> None:
        self.samples: dict[str, QueueSample] = {}
        self.brokers: dict[str, FakeBroker | BrokerError] = {"taskyard-broker": FakeBroker()}
        self.watched: dict[str, QueueWatch] = {}
        self.hurried: list[str] = []

    def watch(self, namespace: str, task_queue: str, *, secret: str, key: str, queue: QueueWatch) -> None:
        self.watched[task_queue] = queue

    def forget(self, namespace: str, task_queue: str) -> None:
        self.watched.pop(task_queue, None)
        self.samples.pop(task_queue, None)

    def sample(self, namespace: str, task_queue: str) -> QueueSample | None:
        return self.samples.get(task_queue)

    def poll_soon(self, namespace: str, task_queue: str) -> None:
        self.hurried.append(task_queue)

    async def broker(self, namespace: str, secret: str, key: str) -> FakeBroker:
        found = self.brokers[secret]
        if isinstance(found, BrokerError):
            raise found
        return found


class World:
    def __init__(self) -> None:
        self.kube, self.poller, self.time = FakeKube(), FakePoller(), 1000.0
        self.woken: list[str] = []
        self.reconciler = self.restart()

    def restart(self) -> TaskQueueReconciler:
        self.reconciler = TaskQueueReconciler(
            self.kube,
            self.poller,  # type: ignore[arg-type]
            wake=lambda namespace, name: self.woken.append(name),
            clock=lambda: self.time,
        )
        return self.reconciler

    @property
    def broker(self) -> FakeBroker:
        found = self.poller.brokers["taskyard-broker"]
        assert isinstance(found, FakeBroker)
        return found

    def polled(
        self, depth: QueueDepth | None = EMPTY, failure: BrokerFailure | None = None, name: str = "email"
    ) -> None:
        self.poller.samples[name] = QueueSample(depth, self.time, failure, int(failure is not None))

    async def run(self, name: str = "email") -> float | None:
        return await self.reconciler.reconcile("shop", name)

    async def ready(self, name: str = "email", **spec: Any) -> None:
        self.kube.put(name, spec)
        self.polled(name=name)
        await self.run(name)
        assert self.kube.says(name, "Ready") == ("True", "Synced")


Scenario = Callable[[World], Coroutine[Any, Any, None]]


def within(scenario: Scenario) -> None:
    asyncio.run(scenario(World()))


def test_the_broker_is_asked_to_declare_once_and_again_after_two_minutes() -> None:
    async def scenario(world: World) -> None:
        world.kube.put("email")
        wait = await world.run()
        assert world.broker.ensured == []  # the first poll says whether the broker answers at all
        assert world.kube.says("email", "Ready") == ("Unknown", "Pending")
        assert wait is None
        world.polled(None, MISSING)
        assert await world.run() == pytest.approx(114, abs=6)
        assert len(world.broker.ensured) == 1
        assert world.poller.hurried == ["email"]
        assert world.kube.says("email", "Ready") == ("True", "Synced")
        world.polled()
        for _ in range(10):
            world.time += 10
            await world.run()
        assert len(world.broker.ensured) == 1
        world.time += 25
        await world.run()
        assert len(world.broker.ensured) == 2

    within(scenario)


def test_what_is_watched() -> None:
    async def scenario(world: World) -> None:
        bindings = [
            {"exchange": "a", "routingKey": "x"},
            {"exchange": "b", "exchangeType": "topic", "routingKey": "y.#"},
        ]
        await world.ready(queueName="mail", bindings=bindings, deadLetter={"queueName": "graves"})
        assert world.poller.watched["email"] == QueueWatch("mail", "graves", ("x",))
        await world.ready("other", deadLetter={"enabled": False})
        assert world.poller.watched["other"] == QueueWatch("other", None)

    within(scenario)


@pytest.mark.parametrize(
    "sample",
    [
        QueueSample(None, 0, MISSING, 1),
        QueueSample(EMPTY, 0, MISSING, 1),
        QueueSample(QueueDepth(3, 0, None), 0),
    ],
)
def test_a_queue_that_the_poll_misses_is_declared_at_once(sample: QueueSample) -> None:
    async def scenario(world: World) -> None:
        await world.ready()
        world.poller.samples["email"] = sample
        world.time += 1
        await world.run()
        assert len(world.broker.ensured) == 1  # that may be what was before
        world.time += 2
        await world.run()
        assert len(world.broker.ensured) == 2

    within(scenario)


def test_a_broker_that_does_not_answer_is_not_asked_to_declare() -> None:
    async def scenario(world: World) -> None:
        world.kube.put("email")
        world.polled(None, DOWN)
        await world.run()
        assert world.kube.says("email", "Ready") == ("False", "Unreachable")
        world.time += 500
        await world.run()
        assert world.broker.ensured == []
        world.polled()
        await world.run()
        assert world.kube.says("email", "Ready") == ("True", "Synced")

    within(scenario)


def test_a_declaration_that_fails_is_tried_again_after_ten_seconds_or_a_change() -> None:
    async def scenario(world: World) -> None:
        world.broker.outcome = BrokerError(QueueReason.ACCESS_DENIED, "no permission")
        world.kube.put("email")
        world.polled()
        assert await world.run() == 10
        assert world.kube.condition("email", "Ready")["message"] == "no permission"
        assert await world.run() == 10
        assert len(world.broker.ensured) == 1
        world.time += 10
        await world.run()
        assert len(world.broker.ensured) == 2
        world.kube.put("email", {"messageTTL": "1h"})
        await world.run()
        assert len(world.broker.ensured) == 3

    within(scenario)


def test_a_change_of_the_spec_is_declared_at_once_and_nothing_old_is_claimed_for_it() -> None:
    async def scenario(world: World) -> None:
        world.broker.outcome = EnsureResult(drift=("differs",))
        await world.ready()
        assert world.kube.says("email", "Drifted") == ("True", "ArgumentsDiffer")
        world.kube.put("email", {"messageTTL": "1h"})
        world.polled(EMPTY, DOWN)
        await world.run()
        assert world.kube.says("email", "Drifted") == ("Unknown", "Pending")
        world.polled()
        world.broker.outcome = EnsureResult()
        await world.run()
        assert world.kube.says("email", "Drifted") == ("False", "InSync")
        assert world.kube.status("email")["observedGeneration"] == 2

    within(scenario)


def test_a_broker_that_hangs_holds_one_runner() -> None:
    async def scenario(world: World) -> None:
        world.broker.gate = asyncio.Event()
        for name in ("a", "b"):
            world.kube.put(name)
            world.polled(name=name)
        hanging = asyncio.create_task(world.run("a"))
        await world.broker.entered.wait()
        assert await world.run("b") == 20
        assert world.woken == []
        world.broker.gate.set()
        await hanging
        assert world.woken == ["b"]  # its turn
        await world.run("b")
        assert [plan.queue.name for plan in world.broker.ensured] == ["a", "b"]

    within(scenario)


def test_numbers_are_written_every_ten_seconds_and_conditions_at_once() -> None:
    async def scenario(world: World) -> None:
        await world.ready()
        world.polled(QueueDepth(4, 0, 0))
        assert await world.run() == 1  # a count that leaves or reaches zero is what people look for first
        world.time += 1
        await world.run()
        writes = len(world.kube.writes)
        world.polled(QueueDepth(5, 0, 0))
        assert await world.run() == 10
        assert len(world.kube.writes) == writes
        world.time += 4
        assert await world.run() == 6
        world.time += 6
        world.polled(QueueDepth(7, 1, 0))
        await world.run()
        assert world.kube.status("email")["messages"] == {
            "ready": 7,
            "unacknowledged": 1,
            "dead": 0,
            "total": 8,
        }
        world.time += 500
        world.polled(QueueDepth(7, 1, 0))
        writes = len(world.kube.writes)
        await world.run()
        assert len(world.kube.writes) == writes  # lastPolled alone is no news
        world.polled(QueueDepth(9, None, 0), DOWN)
        await world.run()
        assert world.kube.says("email", "BrokerReachable") == ("False", "Unreachable")
        assert world.kube.status("email")["messages"] == {"ready": 9, "dead": 0}  # what is unknown is gone

    within(scenario)


def test_the_finalizer_is_there_while_the_policy_needs_it() -> None:
    async def scenario(world: World) -> None:
        def finalizers() -> Any:
            return world.kube.objects["taskqueues", "shop", "email"]["metadata"].get("finalizers", [])

        await world.ready()
        assert finalizers() == []
        world.kube.objects["taskqueues", "shop", "email"]["metadata"]["finalizers"] = ["somebody.else/x"]
        for policy in ("Delete", "Purge"):
            world.kube.put("email", {"deletionPolicy": policy})
            await world.run()
            assert finalizers() == ["somebody.else/x", FINALIZER_BROKER_QUEUE]
        world.kube.put("email", {"deletionPolicy": "Retain"})
        await world.run()
        assert finalizers() == ["somebody.else/x"]

    within(scenario)


def test_a_write_in_between_is_a_conflict_not_a_lost_update() -> None:
    async def scenario(world: World) -> None:
        world.kube.put("email", {"deletionPolicy": "Delete"})
        get = world.kube.get

        async def stale(*arguments: Any) -> Any:
            found = await get(*arguments)
            world.kube.put("email", {"deletionPolicy": "Purge"})
            return found

        world.kube.get = stale  # type: ignore[method-assign,assignment]
        with pytest.raises(Conflict):
            await world.run()

    within(scenario)


@pytest.mark.parametrize(("policy", "if_empty"), [("Delete", True), ("Purge", False)])
def test_deletion_as_the_policy_says(policy: str, if_empty: bool) -> None:
    async def scenario(world: World) -> None:
        await world.ready(deletionPolicy=policy)
        world.kube.delete("email")
        world.broker.removal = RemovalResult("email holds 3 messages")
        assert await world.run() == 5
        assert world.kube.says("email", "Deleting") == ("True", "Blocked")
        world.broker.removal = RemovalResult()
        await world.run()
        assert world.broker.removed == [("email", True, if_empty, True)] * 2
        assert not world.kube.exists("email")
        assert "email" not in world.poller.watched

    within(scenario)


def test_a_policy_changed_to_retain_lets_a_deletion_end() -> None:
    async def scenario(world: World) -> None:
        await world.ready(deletionPolicy="Delete")
        world.kube.delete("email")
        world.broker.removal = RemovalResult("email holds 3 messages")
        await world.run()
        world.kube.put("email", {"deletionPolicy": "Retain"})
        world.broker.removal = RemovalResult()
        await world.run()
        assert world.broker.removed[-1] == ("email", False, True, True)
        assert not world.kube.exists("email")

    within(scenario)


def test_retain_drops_policies_only_of_what_was_ours() -> None:
    async def scenario(world: World) -> None:
        await world.ready()
        world.kube.delete("email")
        await world.run()
        assert world.broker.removed == [("email", False, True, True)]
        await world.run("never-seen")
        world.kube.put("young", {"queueName": "email"})
        await world.ready("old", queueName="email")
        assert len(world.broker.removed) == 1

    within(scenario)


def test_the_older_task_queue_wins_also_after_a_restart_and_when_it_is_seen_later() -> None:
    async def scenario(world: World) -> None:
        world.kube.put("old", {"queueName": "email"}, created="2025-01-01T00:00:00Z")
        world.kube.put("young", {"queueName": "email"}, created="2025-01-02T00:00:00Z")
        for _ in range(2):
            world.restart()
            for name in ("young", "old", "young"):
                world.polled(name=name)
                await world.run(name)
            assert world.kube.says("young", "Ready") == ("False", "QueueNameConflict")
            assert world.kube.says("old", "Ready") == ("True", "Synced")
        assert len(world.broker.ensured) == 2
        world.kube.delete("old")
        await world.run("old")
        assert world.woken == ["young"]
        assert world.broker.removed == []  # the heir's policies have the same names
        await world.run("young")
        assert world.kube.says("young", "Ready") == ("True", "Synced")

    within(scenario)


def test_the_same_name_on_another_broker_is_another_queue() -> None:
    async def scenario(world: World) -> None:
        world.poller.brokers["second"] = FakeBroker("rabbitmq://elsewhere/")
        await world.ready("one", queueName="email")
        await world.ready("two", queueName="email", broker={"secretRef": {"name": "second"}})

    within(scenario)


def test_a_spec_that_cannot_be_read_is_told() -> None:
    async def scenario(world: World) -> None:
        world.kube.put("email", {"messageTTL": "soon"})
        await world.run()
        assert world.kube.says("email", "Ready") == ("False", "InvalidSpec")
        assert "messageTTL" in world.kube.condition("email", "Ready")["message"]
        assert world.broker.ensured == []

    within(scenario)


def test_a_secret_that_is_missing_is_told_before_the_poller_notices() -> None:
    async def scenario(world: World) -> None:
        await world.ready()
        world.poller.brokers["taskyard-broker"] = BrokerError(QueueReason.SECRET_NOT_FOUND, "no Secret")
        assert await world.run() == 10
        assert world.kube.says("email", "BrokerReachable") == ("False", "SecretNotFound")
        assert world.kube.says("email", "Ready") == ("Unknown", "SecretNotFound")

    within(scenario)


def test_a_restart_claims_nothing_until_the_first_poll() -> None:
    async def scenario(world: World) -> None:
        await world.ready()
        before: Mapping[str, Any] = dict(world.kube.status("email"))
        world.restart()
        world.poller.samples.clear()
        assert await world.run() is None
        assert world.kube.status("email") == before

    within(scenario)
