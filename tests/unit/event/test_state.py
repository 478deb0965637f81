"""The state of a cluster out of its events, in whatever order they come."""

from __future__ import annotations

import copy
import pickle
import random
from decimal import Decimal
from time import time
from typing import Any

import pytest

from taskyard import states
from taskyard.events.event import Event
from taskyard.events.state import HEARTBEAT_DRIFT_MAX, State, Task, Worker, heartbeat_expires


def task_event(
    kind: str, uuid: str = "id", clock: int = 0, host: str = "w@test", **fields: Any
) -> dict[str, Any]:
    now = time()
    given = {
        "uuid": uuid,
        "hostname": host,
        "clock": clock,
        "local_received": now,
        "timestamp": now,
        **fields,
    }
    return Event(f"task-{kind}", given)


def worker_event(kind: str, host: str = "w@test", **fields: Any) -> dict[str, Any]:
    now = time()
    return Event(f"worker-{kind}", {"hostname": host, "local_received": now, "timestamp": now, **fields})


def test_workers_live_as_long_as_their_heart_beats() -> None:
    joined: list[Any] = []
    left: list[Any] = []
    state = State(on_node_join=joined.append, on_node_leave=left.append)
    (worker, created), subject = state.event(worker_event("online", freq=2.0, active=1))
    assert (created, subject, worker.alive, worker.active) == (True, "online", True, 1)
    assert [each.hostname for each in state.alive_workers()] == ["w@test"]
    late = time() - 600
    state.event(worker_event("heartbeat", "old@test", freq=2.0, local_received=late, timestamp=late))
    assert [each.hostname for each in state.alive_workers()] == ["w@test"]
    state.event(worker_event("offline"))
    assert "w@test" not in state.workers
    assert [each.hostname for each in joined] == ["w@test", "old@test"]
    assert [each.hostname for each in left] == ["w@test"]
    assert state.event({"type": "worker-odd"}) is None
    assert state.event({"type": "odd"}) is None


def test_heartbeats() -> None:
    assert heartbeat_expires(Decimal(10), freq=60, expire_window=200) == 130
    worker = Worker("w")
    for moment in (5.0, 3.0, 9.0, 7.0, 8.0):
        worker.event("heartbeat", moment, moment)
    assert worker.heartbeats == [5.0, 7.0, 8.0, 9.0]
    worker.event("heartbeat")
    assert len(worker.heartbeats) == 4


def test_clocks_that_differ_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker("drifting@test")
    for _ in range(2):
        worker.event("heartbeat", time() + HEARTBEAT_DRIFT_MAX * 2, time())
    assert caplog.text.count("Substantial drift from drifting@test") == 1


def test_a_task_is_told_in_any_order() -> None:
    events = [
        task_event("sent", clock=1, host="client", queue="q"),
        task_event("received", clock=2, name="add", args="(1,)", kwargs="{}", retries=0, root_id="id"),
        task_event("started", clock=3),
        task_event("succeeded", clock=4, result="5", runtime=0.1),
    ]
    for _ in range(24):
        random.shuffle(events)
        state = State()
        for event in events:
            state.event(dict(event))
        task = state.tasks["id"]
        assert (task.state, task.name, task.args, task.result) == (states.SUCCESS, "add", "(1,)", "5")
        assert task.worker.hostname == "w@test"
        assert task.client == "client"
        assert task.succeeded
        assert task.started
        assert task.ready


def test_retries_and_custom_states() -> None:
    state = State()
    for kind in ("received", "started", "retried"):
        state.event(task_event(kind))
    assert state.tasks["id"].state == states.RETRY
    state.event(task_event("received"))
    assert state.tasks["id"].state == states.RECEIVED
    state.event(task_event("progress", percent=5))
    assert (state.tasks["id"].state, state.tasks["id"].percent) == ("PROGRESS", 5)


def test_children_find_their_parents_in_any_order() -> None:
    state = State(max_tasks_in_memory=10)
    state.event(task_event("received", "child", name="b", parent_id="parent", root_id="parent"))
    state.event(task_event("received", "parent", name="a"))
    state.event(task_event("received", "second", name="b", parent_id="parent", root_id="parent"))
    parent = state.tasks["parent"]
    assert set(parent.children) == {state.tasks["child"], state.tasks["second"]}
    assert state.tasks["child"].parent is state.tasks["child"].root is parent
    assert sorted(parent.as_dict()["children"]) == ["child", "second"]
    for number in range(100):
        state.event(task_event("received", f"t{number}", name="b", parent_id=f"unseen{number}"))
    assert len(state._tasks_to_resolve) <= 10
    assert len(state.tasks) <= 10


def test_views() -> None:
    state = State()
    for number in range(6):
        state.event(task_event("received", f"t{number}", number, f"w{number % 2}", name=f"task{number % 3}"))
    assert [uuid for uuid, _ in state.tasks_by_time()] == [f"t{number}" for number in (5, 4, 3, 2, 1, 0)]
    assert [uuid for uuid, _ in state.tasks_by_time(limit=2, reverse=False)] == ["t0", "t1"]
    assert [uuid for uuid, _ in state.tasks_by_type("task1")] == ["t4", "t1"]
    assert {task.uuid for task in state.tasks_by_type["task1"]} == {"t1", "t4"}
    assert [uuid for uuid, _ in state.tasks_by_worker("w0", limit=1)] == ["t4"]
    assert state.task_types() == ["task0", "task1", "task2"]
    assert len(list(state.itertasks(limit=2))) == 2
    assert (state.event_count, state.task_count) == (6, 6)


def test_forgetting() -> None:
    state = State()
    state.event(task_event("succeeded", "done"))
    state.event(task_event("started", "busy"))
    assert state.freeze_while(lambda each: each + 1, 1, clear_after=True) == 2
    assert list(state.tasks) == ["busy"]
    assert not state.workers
    assert not state.event_count
    state.clear_tasks(ready=False)
    assert not state.tasks


def test_the_order_by_time_is_bounded() -> None:
    state = State(max_tasks_in_memory=1)
    state.heap_multiplier = 2
    for clock in (3, 4, 5):
        state.event(task_event("started", str(clock), clock))
    assert [moment.clock for moment in state._taskheap] == [4, 5]


def test_handlers_callback_and_copies() -> None:
    seen: list[Any] = []
    state = State(callback=lambda _, event: seen.append(event["type"]))
    state.handlers["own"] = lambda subject, event: subject.upper()
    assert state.event({"type": "own-thing"}) == ("THING", "thing")
    assert seen == ["own-thing"]
    state = State()
    state.event(task_event("received", name="a", parent_id=None))
    for other in (pickle.loads(pickle.dumps(state)), copy.deepcopy(state)):
        assert list(other.tasks) == ["id"]
        assert {task.uuid for task in other.tasks_by_type["a"]} == {"id"}
        assert [uuid for uuid, _ in other.tasks_by_time()] == ["id"]
    assert state.get_or_create_task("id")[1] is False
    assert state.get_or_create_worker("w@test", pid=4)[0].pid == 4


def test_values() -> None:
    task = Task("a", name="add", args="()", foo=None)
    assert task == Task("a")
    assert task != Task("b")
    assert task != "a"
    assert hash(task) == hash(Task("a"))
    assert task.info() == {"args": "()"}
    assert task.info(["name"], extra=["uuid"]) == {"name": "add", "uuid": "a"}
    assert Worker("a") == Worker("a")
    assert Worker("a") != Worker("b")
    assert Worker("a", pid=3).id == "a.3"
    assert "OFFLINE" in repr(Worker("a"))
    worker = Worker("a")
    worker.update({"x": 1}, clock=3)
    assert (worker.x, worker.clock) == (1, 3)  # type: ignore[attr-defined]
