"""What a status says."""

from datetime import UTC, datetime, timedelta
from typing import Any

from taskyard_operator.api.names import ConditionType, QueueReason
from taskyard_operator.api.taskqueue import TaskQueue
from taskyard_operator.core.queue import BrokerFailure, QueueDepth, QueueSample
from taskyard_operator.core.queue_plan import BrokerFamily, EnsureResult, Limit, plan_queue
from taskyard_operator.core.queue_status import QueueView, build_status, transitions

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
DOWN = BrokerFailure(QueueReason.UNREACHABLE, "the broker is away")
DEPTH = QueueDepth(ready=3, unacknowledged=2, dead=1, consumers=4, publish_rate=1.26, oldest_age=7.0)


def task_queue(**spec: Any) -> TaskQueue:
    return TaskQueue.parse(
        {"metadata": {"name": "email", "namespace": "shop", "generation": 3}, "spec": spec}
    )


def view(queue: TaskQueue, **more: Any) -> QueueView:
    plan = plan_queue(queue.spec, "email", BrokerFamily.RABBITMQ)
    known: dict[str, Any] = {
        "broker": "rabbitmq://host:5672//",
        "plan": plan,
        "sample": QueueSample(DEPTH, 1_700_000_000.0),
        "ensured": EnsureResult(),
    }
    return QueueView(**(known | more))


def said(queue: TaskQueue, seen: QueueView) -> dict[str, tuple[str, str]]:
    status = build_status(queue, seen, NOW)
    assert {item.observed_generation for item in status.conditions} == {3}
    return {item.type: (item.status, item.reason) for item in status.conditions}


def test_a_queue_at_rest() -> None:
    queue = task_queue()
    status = build_status(queue, view(queue), NOW)
    assert said(queue, view(queue)) == {
        "Ready": ("True", "Synced"),
        "BrokerReachable": ("True", "Connected"),
        "Drifted": ("False", "InSync"),
        "Limited": ("False", "InEffect"),
    }
    assert status.to_json() | {"conditions": []} == {
        "observedGeneration": 3,
        "summary": "Synced",
        "queueName": "email",
        "broker": "rabbitmq://host:5672//",
        "messages": {"ready": 3, "unacknowledged": 2, "dead": 1, "total": 5},
        "consumers": 4,
        "publishRate": 1.3,
        "oldestMessageAge": "7s",
        "lastPolled": "2023-11-14T22:13:20Z",
        "conditions": [],
    }


def test_unknown_is_not_zero() -> None:
    queue = task_queue()
    status = build_status(queue, view(queue, sample=QueueSample(QueueDepth(3), 1.0)), NOW)
    assert status.messages is not None
    assert status.messages.to_json() == {"ready": 3}


def test_before_the_broker_was_asked_nothing_is_claimed() -> None:
    assert set(said(task_queue(), QueueView()).values()) == {("Unknown", "Pending")}


def test_a_broker_that_is_away_makes_ready_unknown_but_never_ready_at_first() -> None:
    queue = task_queue()
    down = QueueSample(DEPTH, 1.0, DOWN, 3)
    assert said(queue, view(queue, sample=down))["Ready"] == ("Unknown", "Unreachable")
    seen = said(queue, view(queue, sample=down, ensured=None))
    assert seen["Ready"] == ("False", "Unreachable")
    assert seen["BrokerReachable"] == ("False", "Unreachable")
    assert seen["Drifted"] == ("Unknown", "Pending")


def test_a_queue_that_is_missing_does_not_make_the_broker_unreachable() -> None:
    queue = task_queue()
    gone = QueueSample(None, 1.0, BrokerFailure(QueueReason.QUEUE_NOT_FOUND, "no queue"), 1)
    seen = said(queue, view(queue, sample=gone))
    assert seen["BrokerReachable"] == ("True", "Connected")
    assert seen["Ready"] == ("False", "QueueNotFound")


def test_a_refused_declaration() -> None:
    queue = task_queue()
    refused = BrokerFailure(QueueReason.ACCESS_DENIED, "no permission")
    seen = said(queue, view(queue, ensured=None, failure=refused))
    assert seen["Ready"] == ("False", "AccessDenied")
    assert seen["BrokerReachable"] == ("True", "Connected")


def test_drift_conflict_limits_deletion_and_bad_specs() -> None:
    queue = task_queue(maxPriority=10)
    drifted = EnsureResult(
        drift=("x-max-priority differs",), limits=(Limit("PolicyShadowed", "a"), Limit("B", "b"))
    )
    status = build_status(queue, view(queue, ensured=drifted), NOW)
    by_type = {item.type: item for item in status.conditions}
    assert by_type["Drifted"].message == "x-max-priority differs"
    assert (by_type["Limited"].reason, by_type["Limited"].message) == ("PolicyShadowed", "a; b")
    assert by_type["Ready"].status == "True"
    assert "task_queue_max_priority = 10" in by_type["Ready"].message
    assert status.summary == "ArgumentsDiffer"
    foreign = EnsureResult(drift=("a stream",), foreign=True)
    assert said(queue, view(queue, ensured=foreign))["Ready"] == ("False", "NotAQueue")
    assert said(queue, view(queue, holder="shop/older"))["Ready"] == ("False", "QueueNameConflict")
    assert said(queue, QueueView(invalid="spec.type: wrong"))["Ready"] == ("False", "InvalidSpec")
    blocked = Limit(QueueReason.BLOCKED, "3 messages")
    assert said(queue, view(queue, deleting=blocked))["Deleting"] == ("True", "Blocked")


def test_transition_times_stay_while_the_status_stays() -> None:
    queue = task_queue()
    first = build_status(queue, view(queue), NOW)
    later = queue.model_copy(update={"status": first})
    again = build_status(later, view(queue), NOW + timedelta(hours=1))
    assert again.conditions == first.conditions
    down = build_status(later, view(queue, sample=QueueSample(DEPTH, 1.0, DOWN, 1)), NOW + timedelta(hours=1))
    times = {item.type: item.last_transition_time for item in down.conditions}
    assert times["BrokerReachable"] == NOW + timedelta(hours=1)
    assert times["Drifted"] == NOW


def test_events_only_for_what_turned() -> None:
    queue = task_queue()
    pending = build_status(queue, QueueView(), NOW).conditions
    good = build_status(queue, view(queue), NOW).conditions
    down = build_status(queue, view(queue, sample=QueueSample(DEPTH, 1.0, DOWN, 1)), NOW).conditions
    drift = build_status(queue, view(queue, ensured=EnsureResult(drift=("a",))), NOW).conditions

    def told(before: Any, after: Any) -> set[tuple[str, str]]:
        return {(item.type, item.reason) for item in transitions(before, after)}

    assert told((), pending) == set()
    assert told((), good) == told(pending, good) == {(ConditionType.READY, "Synced")}
    assert told(good, good) == set()
    assert told(good, down) == {(ConditionType.BROKER_REACHABLE, "Unreachable")}
    assert told(down, good) == {
        (ConditionType.BROKER_REACHABLE, "Connected"),
        (ConditionType.READY, "Synced"),
    }
    assert told(good, drift) == {(ConditionType.DRIFTED, "ArgumentsDiffer")}
