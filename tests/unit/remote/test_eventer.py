"""When task events flow, and what the worker's events hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kombu.clocks import LamportClock

from taskyard.worker.remote import eventer as module
from taskyard.worker.remote.eventer import Eventer


class Wire:
    tells_listeners = True

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.probes = 0

    def publish(self, routing_key: str, message: Any) -> None:
        self.sent.append((routing_key, json.loads(message.body)))

    def probe(self, message: Any) -> None:
        assert json.loads(message.body) == []
        self.probes += 1


def eventer_on(wire: Any, *, enabled: bool = False) -> Eventer:
    eventer = Eventer("me@test", LamportClock(), "json", enabled=enabled)
    eventer.wire_open(wire)
    return eventer


def test_worker_events_go_at_once() -> None:
    wire = Wire()
    eventer = eventer_on(wire)
    eventer.send("worker-heartbeat", freq=2.0)
    ((key, event),) = wire.sent
    assert key == "worker.heartbeat"
    assert {
        "type": "worker-heartbeat",
        "hostname": "me@test",
        "freq": 2.0,
        "clock": 1,
    }.items() <= event.items()
    assert {"pid", "timestamp", "utcoffset"} <= set(event)
    eventer.wire_lost()
    eventer.send("worker-heartbeat")
    assert len(wire.sent) == 1


def test_task_events_travel_together() -> None:
    wire = Wire()
    eventer = eventer_on(wire, enabled=True)
    eventer.flush()
    for number in range(module._EVENTS_A_MESSAGE + 1):
        eventer.task("task-started", uuid=str(number))
    eventer.task("task-succeeded", 5.0, uuid="x")
    eventer.flush()
    assert [key for key, _ in wire.sent] == ["task.multi", "task.multi"]
    assert [len(batch) for _, batch in wire.sent] == [module._EVENTS_A_MESSAGE, 2]
    assert wire.sent[1][1][-1]["timestamp"] == 5.0


def test_they_flow_while_somebody_listens_or_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    wire = Wire()
    eventer = eventer_on(wire)
    changes: list[bool] = []
    eventer.on_flow = changes.append
    assert not eventer.flowing
    assert wire.probes == 1
    eventer.listeners(2)
    assert eventer.flowing
    eventer.listeners(0)
    assert not eventer.flowing
    assert eventer.enable()
    assert not eventer.enable()
    assert eventer.flowing
    now[0] += 1000  # nobody renewed it
    eventer.beat()
    assert not eventer.flowing
    eventer.listeners(1)
    assert eventer.disable()
    assert not eventer.disable()
    assert not eventer.flowing
    assert eventer.enable()
    assert eventer.flowing
    assert changes == [True, False, True, False, True, False, True]
    eventer.wire_lost()
    assert not eventer.flowing


def test_what_was_asked_for_by_option_flows_always() -> None:
    eventer = eventer_on(Wire(), enabled=True)
    assert eventer.flowing
    eventer.listeners(0)
    assert eventer.flowing
    eventer.disable()
    assert not eventer.flowing


def test_what_is_cancelled_with_the_wire_is_told_when_it_is_back() -> None:
    eventer = eventer_on(Wire(), enabled=True)
    eventer.wire_lost()
    eventer.task_soon("task-cancelled", uuid="x")
    again: Any = Wire()
    eventer.wire_open(again)
    eventer.flush()
    ((key, (event,)),) = again.sent
    assert (key, event["type"], event["uuid"]) == ("task.multi", "task-cancelled", "x")


def test_nothing_is_kept_for_nobody() -> None:
    eventer = eventer_on(Wire())
    eventer.wire_lost()
    eventer.task_soon("task-cancelled", uuid="x")
    again: Any = Wire()
    eventer.wire_open(again)
    eventer.enable()
    eventer.flush()
    assert again.sent == []
