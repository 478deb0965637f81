"""Sending: what options become in messages."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import pytest
from kombu.exceptions import EncodeError, OperationalError

from taskyard import App, signals
from taskyard.broker.lines import Lines
from taskyard.context import Context, enter, leave
from taskyard.errors import AlwaysEagerIgnored, BrokerDisconnected
from taskyard.events.dispatcher import EventDispatcher
from tests.unit.client.conftest import Sent


def test_options_of_the_task_then_of_the_call(app: App, sent: list[Sent]) -> None:
    @app.task(name="n", shared=False, time_limit=30, soft_time_limit=20, expires=60, delivery_mode=1)
    def task(x: int) -> None:
        pass

    task.apply_async((1,), {}, "the-id")
    task.apply_async((1,), time_limit=9, soft_time_limit=8, expires=None, delivery_mode="persistent")
    app.send_task("n", (1,))
    app.send_task("n", (1,), expires=None)
    first, second, named, unlimited = sent
    assert (first.headers["id"], first.headers["timelimit"]) == ("the-id", [30, 20])
    assert (first.options["delivery_mode"], second.options["delivery_mode"]) == (1, 2)
    assert 55_000 < int(first.properties["expiration"]) <= 60_000
    assert second.headers["timelimit"] == [9, 8]
    assert second.headers["expires"] is None
    assert "expiration" not in second.properties
    assert named.headers["timelimit"] == [30, 20], "by name the registered task's options hold too"
    assert (named.headers["expires"] is None, unlimited.headers["expires"]) == (False, None)
    with pytest.raises(ValueError, match="soft_time_limit"):
        task.apply_async((1,), time_limit=1, soft_time_limit=2)


def test_times(app: App, sent: list[Sent]) -> None:
    app.conf.timezone = "Europe/Berlin"
    app.send_task("t", eta=datetime(2030, 1, 1, 12))
    app.send_task("t", countdown=30)
    app.send_task("t", expires=datetime.now(UTC) - timedelta(hours=1))
    assert sent[0].headers["eta"] == "2030-01-01T12:00:00+00:00", "naive is UTC, as in Celery"
    due = datetime.fromisoformat(sent[1].headers["eta"])
    assert 20 < (due - datetime.now(UTC)).total_seconds() <= 30
    assert sent[2].properties["expiration"] == "0"


def test_an_eta_in_any_zone_is_that_moment(app: App, sent: list[Sent]) -> None:
    moment = datetime(2030, 7, 1, 12, tzinfo=ZoneInfo("Asia/Seoul"))
    app.send_task("t", eta=moment, expires=moment + timedelta(hours=1))
    app.send_task("t", eta="2030-07-01T12:00:00+09:00")
    for each in sent:
        assert datetime.fromisoformat(each.headers["eta"]) == datetime(2030, 7, 1, 3, tzinfo=UTC)
    assert datetime.fromisoformat(sent[0].headers["expires"]) == datetime(2030, 7, 1, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"countdown": "5"}, TypeError, "countdown must be seconds, not '5'"),
        ({"eta": "tomorrow"}, ValueError, "eta must be an ISO 8601 date, not 'tomorrow'"),
        ({"eta": object()}, TypeError, "eta must be a datetime"),
        ({"expires": "soon"}, ValueError, "expires must be an ISO 8601 date, not 'soon'"),
    ],
)
def test_times_that_are_none_are_refused_here(
    app: App, sent: list[Sent], options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        app.send_task("t", **options)
    assert not sent


def test_every_option_of_a_task_that_goes_into_its_messages(app: App, sent: list[Sent]) -> None:
    @app.task(
        name="n", shared=False, queue="own", priority=7, expires=60, serializer="yaml", compression="gzip",
        delivery_mode=1, time_limit=9, soft_time_limit=5, ignore_result=True,
    )  # fmt: skip
    def task() -> None:
        pass

    app.task(name="placed", shared=False, exchange="x", routing_key="k")(task.run)
    task.delay()
    app.tasks["placed"].delay()
    own, placed = sent
    assert (own.route.queue, own.options["delivery_mode"]) == ("own", 1)
    assert (own.headers["compression"], own.headers["timelimit"]) == ("application/x-gzip", [9, 5])
    assert (own.headers["ignore_result"], own.headers["expires"] is None) == (True, False)
    assert (own.priority, own.content_type) == (7, "application/x-yaml")
    assert (placed.route.exchange, placed.route.routing_key) == ("x", "k")


def test_headers_stamps_links_and_identity(app: App, sent: list[Sent]) -> None:
    link: dict[str, Any] = {
        "task": "next",
        "args": [],
        "kwargs": {},
        "options": {},
        "subtask_type": None,
        "immutable": False,
    }
    app.send_task(
        "t",
        link=link,
        link_error=[link],
        headers={"x-mine": 1},
        stamped_headers=["team"],
        team="a",
        shadow="s",
        origin="gen1@h",
        reply_to="me",
        group_id="g",
        group_index=2,
        root_id="r",
        parent_id="p",
        argsrepr="<hidden>",
        replaced_task_nesting=1,
        retries=4,
        ignore_result=True,
    )
    message = sent[0]
    headers = message.headers
    assert message.embed["callbacks"] == message.embed["errbacks"] == [link]
    assert (headers["stamped_headers"], headers["stamps"], headers["x-mine"]) == (["team"], {"team": "a"}, 1)
    names = ("shadow", "origin", "group", "group_index", "root_id", "parent_id")
    assert [headers[name] for name in names] == ["s", "gen1@h", "g", 2, "r", "p"]
    assert (headers["argsrepr"], headers["replaced_task_nesting"], headers["retries"]) == ("<hidden>", 1, 4)
    assert (message.properties["reply_to"], headers["ignore_result"]) == ("me", True)
    assert app.thread_oid == app.thread_oid != "me"


def test_unknown_options_are_refused_and_transport_options_pass(app: App, sent: list[Sent]) -> None:
    with pytest.raises(TypeError, match="coutdown"):
        app.send_task("t", coutdown=3)
    app.send_task("t", app_id="shop", mandatory=True, MessageGroupId="g")
    assert (sent[0].properties["app_id"], sent[0].properties["MessageGroupId"]) == ("shop", "g")
    app.conf.strict = False
    app.send_task("t", anything="goes")
    assert sent[1].properties["anything"] == "goes", "as in Celery it becomes a property"


def test_serializers_and_compression(app: App, sent: list[Sent]) -> None:
    app.send_task("t", ({1},), serializer="pickle")
    app.send_task("t", ("x" * 100,), compression="gzip")
    assert b"\x80" in sent[0].body
    assert sent[1].headers["compression"] == "application/x-gzip"
    with pytest.raises(EncodeError, match="the arguments of t cannot be sent"):
        app.send_task("t", (object(),))


def test_what_routes_say_fills_what_the_call_left_open(app: App, sent: list[Sent]) -> None:
    app.conf.task_routes = {"t": {"queue": "fast", "serializer": "yaml", "priority": 4}}
    app.send_task("t")
    app.send_task("t", serializer="json", queue="mine", priority=1)
    assert [(each.route.queue, each.route.priority) for each in sent] == [("fast", 4), ("mine", 1)]
    assert isinstance(sent[0].body, bytes)


def test_a_running_task_is_the_parent(app: App, sent: list[Sent]) -> None:
    app.conf.task_inherit_parent_priority = True
    task = app.task(name="parent", shared=False)(lambda: None)
    request = Context(id="me", root_id="root", called_directly=False, delivery_info={"priority": 5})
    enter(task, request)
    try:
        child = app.send_task("child")
        app.send_task("again", task_id="me", add_to_parent=False)
    finally:
        leave(task)
    headers = sent[0].headers
    assert (headers["parent_id"], headers["root_id"], request.children) == ("me", "root", [child])
    assert not sent[0].confirmed
    assert sent[1].confirmed, "it takes the place of the message that is about to be acknowledged"
    task.trail = False
    enter(task, Context(id="me", called_directly=False))
    app.send_task("child")
    assert task.request.children == []
    leave(task)


def test_publish_signals_may_change_the_message(app: App, sent: list[Sent]) -> None:
    seen: list[dict[str, Any]] = []

    def before(sender: str, body: Any, headers: dict[str, Any], **more: Any) -> None:
        headers["x-trace"] = "1"
        body[1]["added"] = True
        seen.append({"sender": sender, **more})

    def after(sender: str, **more: Any) -> None:
        seen.append({"sender": sender, **more})

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    try:
        app.send_task("t", kwargs={"a": 1}, queue="q")
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)
    assert sent[0].headers["x-trace"] == "1"
    assert sent[0].body[1] == {"a": 1, "added": True}
    assert seen[0]["sender"] == "t"
    assert (seen[0]["routing_key"], seen[0]["exchange"], seen[0]["properties"]["correlation_id"]) == (
        "q", "", sent[0].headers["id"],
    )  # fmt: skip
    assert set(seen[1]) >= {"body", "headers", "exchange", "routing_key"}


def test_many_at_once(app: App, sent: list[Sent]) -> None:
    @app.task(name="many.add", shared=False, priority=3)
    def add(x: int, y: int = 0) -> int:
        return x + y

    results = app.send_tasks([add.s(1, 2), (add, (3,)), ("by.name", (4,), {"k": 5}, {"queue": "q"})])
    assert [(each.headers["task"], each.args) for each in sent] == [
        ("many.add", [1, 2]), ("many.add", [3]), ("by.name", [4]),
    ]  # fmt: skip
    assert [each.route.priority for each in sent] == [3, 3, None]
    assert sent[2].route.queue == "q"
    assert [result.id for result in results] == [each.headers["id"] for each in sent]
    with pytest.raises(TypeError, match=r"many\.add"):
        app.send_tasks([(add, (1, 2, 3))])
    with pytest.raises(TypeError, match="not a group"):
        app.send_tasks([app.canvas.group(add.s(1))])


def test_always_eager_does_not_hold_for_names(app: App, sent: list[Sent]) -> None:
    app.conf.task_always_eager = True
    with pytest.warns(AlwaysEagerIgnored):
        app.send_task("t")
    assert len(sent) == 1


def test_a_broker_that_stays_away_is_an_error_after_the_policy(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []

    def refuse(self: Lines) -> NoReturn:
        attempts.append(1)
        raise BrokerDisconnected("cannot publish to redis://gone: refused")

    monkeypatch.setattr(Lines, "take", refuse)
    policy = {"max_retries": 2, "interval_start": 0, "interval_step": 0, "interval_max": 0}
    for options, expected in (({"retry": False}, 1), ({"retry_policy": policy}, 3)):
        attempts.clear()
        with pytest.raises(BrokerDisconnected, match="refused"):
            app.send_task("t", **options)
        assert len(attempts) == expected
    app.conf.task_publish_retry = False
    attempts.clear()
    with pytest.raises(OperationalError, match="gone"):
        app.send_tasks([("t",), ("u",)])
    assert len(attempts) == 1


def test_the_body_is_celerys(app: App, sent: list[Sent]) -> None:
    app.send_task("t", (1,), {"a": "b"})
    empty = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    assert sent[0].body == [[1], {"a": "b"}, empty]
    assert json.dumps(sent[0].headers)
    assert list(sent[0].headers) == [
        "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit",
        "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result",
        "replaced_task_nesting", "stamped_headers", "stamps",
    ]  # fmt: skip


def test_the_sent_event(app: App, sent: list[Sent], monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Any] = []

    def publish(self: Any, type: str, fields: Any, producer: Any, **options: Any) -> None:
        events.append((type, fields, options))

    monkeypatch.setattr(EventDispatcher, "publish", publish)
    app.send_task("t", (1,))
    app.conf.task_send_sent_event = True
    result = app.send_task("t", (1,), queue="q", retry=False)
    [(kind, event, options)] = events
    assert (kind, event["uuid"], event["name"], event["args"]) == ("task-sent", result.id, "t", "(1,)")
    assert (event["queue"], event["routing_key"], event["exchange"]) == ("q", "q", "")
    assert (options["retry"], options["retry_policy"]["max_retries"]) == (False, 3)
