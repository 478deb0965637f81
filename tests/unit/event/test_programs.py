"""Dispatcher, receiver and camera over kombu's memory transport."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from kombu import Connection

from taskyard import App
from taskyard.errors import ImproperlyConfigured
from taskyard.events import Event, EventDispatcher, group_from
from taskyard.events.event import adjust_timestamp, get_exchange, utcoffset
from taskyard.events.snapshot import Polaroid
from taskyard.events.state import State


@pytest.fixture
def app() -> App:
    return App("events")


@pytest.fixture
def connection() -> Any:
    with Connection("memory://") as connection:
        yield connection


def test_an_event_is_a_dictionary() -> None:
    event = Event("task-sent", {"a": 1}, b=2)
    assert event.pop("timestamp") > 0
    assert event == {"a": 1, "b": 2, "type": "task-sent"}
    assert Event("x", timestamp=3)["timestamp"] == 3
    assert group_from("task-sent") == "task"
    assert adjust_timestamp(100.0, utcoffset() + 1) == 100.0 - 3600


def test_redis_has_a_fanout_for_events(connection: Any) -> None:
    assert get_exchange(connection, "other").type == "topic"
    assert get_exchange(connection, "other").name == "other"
    connection.transport.driver_type = "redis"
    assert get_exchange(connection).type == "fanout"
    connection.transport.driver_type = "memory"


def test_what_is_dispatched_is_received(app: App, connection: Any) -> None:
    received: list[dict[str, Any]] = []
    receiver = app.events.Receiver(
        connection, handlers={"*": received.append, "task-own": lambda event: None}
    )
    receiver.wakeup_workers = lambda channel=None: None
    channel = connection.channel()
    receiver.queue(channel).declare()
    with app.events.Dispatcher(connection, hostname="me@test", buffer_group=["task"]) as dispatcher:
        dispatcher.send("worker-online", freq=2)
        dispatcher.send("task-started", uuid="a")
        dispatcher.send("task-own", uuid="a")
        dispatcher.send("task-succeeded", uuid="a")
        dispatcher.flush()
        dispatcher.groups = {"worker"}
        dispatcher.send("task-failed", uuid="b")
        dispatcher.disable()
        dispatcher.send("worker-offline")
    receiver.capture(limit=2, timeout=5)
    assert [event["type"] for event in received] == ["worker-online", "task-started", "task-succeeded"]
    assert received[0]["hostname"] == "me@test"
    assert received[0]["clock"] < received[1]["clock"]
    assert all("local_received" in event for event in received)


def test_the_limit_counts_events_however_many_come_at_once(app: App, connection: Any) -> None:
    received: list[dict[str, Any]] = []
    receiver = app.events.Receiver(connection, handlers={"*": received.append})
    receiver.queue(connection.channel()).declare()
    with app.events.Dispatcher(connection) as dispatcher:
        for _ in range(30):
            dispatcher.send("task-own", uuid="a")
    receiver.capture(limit=10, timeout=5, wakeup=False)
    assert len(received) == 10


def test_what_cannot_be_sent_is_kept(app: App, connection: Any) -> None:
    class Broken:
        def publish(self, *args: Any, **kwargs: Any) -> None:
            raise ConnectionError("gone")

    dispatcher = app.events.Dispatcher(connection)
    dispatcher.producer = Broken()
    dispatcher.send("worker-online")
    other = app.events.Dispatcher(connection)
    other.extend_buffer(dispatcher)
    sent: list[Any] = []
    other.producer = type("Producer", (), {"publish": lambda self, event, **kwargs: sent.append(event)})()
    other.flush()
    assert [event["type"] for event in sent] == ["worker-online"]
    strict = app.events.Dispatcher(connection, buffer_while_offline=False)
    strict.producer = Broken()
    with pytest.raises(ConnectionError):
        strict.send("worker-online")


def test_clients_do_not_move_the_clock_forward(app: App, connection: Any) -> None:
    receiver = app.events.Receiver(connection)
    app.clock.adjust(100)
    value = app.clock.value
    _, event = receiver.event_from_message({"type": "task-sent", "timestamp": 1.0, "utcoffset": utcoffset()})
    assert event["clock"] == value - 1
    receiver.event_from_message({"type": "task-started", "clock": 500})
    assert app.clock.value == 501
    assert receiver.event_from_message({"type": "x"})[1]["clock"] == 502


def test_a_queue_is_exclusive_or_durable(app: App, connection: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="cannot both be True"):
        app.events.Receiver(connection, queue_exclusive=True, queue_durable=True)
    assert app.events.Dispatcher(connection, enabled=False).producer is None
    assert issubclass(app.events.Dispatcher, EventDispatcher)


def test_a_camera_takes_pictures() -> None:
    taken = threading.Event()

    class Camera(Polaroid):
        clear_after = True

        def on_shutter(self, state: Any) -> None:
            assert state.event_count in (0, 1)
            taken.set()

    state = State()
    state.event({"type": "worker-online", "hostname": "a", "timestamp": 1, "local_received": 1})
    with Camera(state, freq=0.01, maxrate="1000/s"):
        assert taken.wait(30)
    assert not state.event_count
