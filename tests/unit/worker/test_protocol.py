"""Our messages against those that a real Celery client makes, and whatever else may come."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import celery
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard import App
from taskyard.client.producer import Producer
from taskyard.client.router import Route
from taskyard.errors import MalformedMessage
from taskyard.message.codec import dump_json, loads
from taskyard.message.protocol import TaskMessage, iso_date, read_body, read_envelope, upgrade_protocol_1

ACCEPT = frozenset({"application/json"})
CELERY = celery.Celery("golden", broker="memory://", set_as_current=False)

Sent = list[tuple[TaskMessage, Route]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Messages that our client would publish, with their routes."""
    messages: Sent = []
    monkeypatch.setattr(
        Producer, "publish", lambda self, message, route, **options: messages.append((message, route))
    )
    return messages


CALLS: list[dict[str, Any]] = [
    {},
    {"args": (2, 3)},
    {"args": (1,), "kwargs": {"a": "ä", "b": [1, {"c": None}]}},
    {"args": ("x" * 3000,)},
    {"eta": datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)},
    {"eta": datetime(2030, 1, 2, tzinfo=timezone(timedelta(hours=2)))},
    {"time_limit": 30, "soft_time_limit": 20},
    {"ignore_result": True},
    {"ignore_result": False},
    {"retries": 2, "root_id": "root", "parent_id": "parent"},
    {"group_id": "g", "group_index": 3},
    {"shadow": "shadow.name", "argsrepr": "<hidden>"},
    {"replaced_task_nesting": 1},
]


@pytest.mark.parametrize("call", CALLS, ids=[", ".join(call) or "bare" for call in CALLS])
def test_headers_and_body_are_celery_s(sent: Sent, call: dict[str, Any]) -> None:
    app = App("golden", broker="memory://")
    app.send_task("golden.task", task_id="the-id", **call)
    message, route = sent[0]
    theirs = CELERY.amqp.as_task_v2("the-id", "golden.task", **{"ignore_result": None, **call})
    ignored = {"argsrepr", "kwargsrepr"} if len(str(call)) > 1000 else set()
    for name, value in theirs.headers.items():
        if name not in ignored:
            assert message.headers[name] == value, name
    assert list(message.headers) == list(theirs.headers)
    assert json.loads(message.body) == json.loads(json.dumps(theirs.body))
    assert message.properties["correlation_id"] == theirs.properties["correlation_id"]
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert (route.exchange, route.routing_key, route.queue) == ("", "celery", "celery")


def test_user_headers_links_and_expiry(sent: Sent) -> None:
    app = App("golden", broker="memory://")
    link = CELERY.signature("golden.next", (1,))
    app.send_task(
        "golden.task", link=link, link_error=[link], expires=60, headers={"x-my": "h"}, chain=[link]
    )
    app.send_task("golden.task", expires=60)
    message, _ = sent[0]
    assert message.headers["x-my"] == "h"
    assert 58_000 < int(sent[1][0].properties["expiration"]) <= 60_000
    assert "expiration" not in message.properties  # the chain waits: nobody but a worker may drop it
    embed = json.loads(message.body)[2]
    assert embed["callbacks"] == embed["errbacks"] == embed["chain"] == [json.loads(json.dumps(link))]


def test_stamps(sent: Sent) -> None:
    App("golden", broker="memory://").send_task("golden.task", stamped_headers=["team"], team="a")
    assert sent[0][0].headers["stamps"] == {"team": "a"}
    with pytest.raises(TypeError, match="countdwn"):
        App("golden").send_task("golden.task", countdwn=1)


def test_an_envelope_is_read() -> None:
    headers = {
        "task": "t", "id": "i", "eta": "2030-01-01T00:00:00+00:00", "expires": "2030-01-01T00:00:00",
        "timelimit": [30, 20], "retries": 1, "x-delivery-count": 3, "x-taskyard-deliveries": 1,
    }  # fmt: skip
    envelope = read_envelope(headers)
    assert (envelope.name, envelope.id, envelope.deliveries, envelope.key) == ("t", "i", 3, ("i", 1))
    assert (envelope.hard_limit, envelope.soft_limit) == (30, 20)
    assert envelope.eta == envelope.expires == datetime(2030, 1, 1, tzinfo=UTC).timestamp()


def test_only_task_and_id_are_needed() -> None:
    envelope = read_envelope({"task": "t", "id": "i"})
    assert (envelope.eta, envelope.expires, envelope.hard_limit, envelope.deliveries) == (None, None, None, 0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
header_names = st.sampled_from(
    [
        "task",
        "id",
        "eta",
        "expires",
        "timelimit",
        "retries",
        "x-delivery-count",
        "x-taskyard-deliveries",
        "group",
    ]
)


@given(st.dictionaries(header_names, json_values | st.datetimes(), max_size=9))
def test_any_headers_are_read_or_refused(headers: dict[str, Any]) -> None:
    try:
        envelope = read_envelope(headers)
    except MalformedMessage as refusal:
        reason = refusal.reason
        assert len(reason) < 500
    else:
        assert envelope.id
        assert envelope.deliveries >= 0


@given(json_values)
def test_any_body_is_read_or_refused(value: Any) -> None:
    try:
        args, kwargs, embed = read_body(value)
    except MalformedMessage as refusal:
        reason = refusal.reason
        assert len(reason) < 500
    else:
        assert isinstance(args, list)
        assert isinstance(kwargs, dict)
        assert isinstance(embed, dict)


@given(st.binary() | st.text(), st.none() | st.text(max_size=20) | st.just("utf-8"))
def test_any_bytes_are_decoded_or_refused(body: bytes | str, encoding: str | None) -> None:
    try:
        loads(body, "application/json", encoding, ACCEPT)
    except MalformedMessage as refusal:
        reason = refusal.reason
        assert reason


@given(json_values)
def test_any_protocol_1_body_is_read_or_refused(value: Any) -> None:
    try:
        headers, body = upgrade_protocol_1(dump_json(value), "application/json", "utf-8", {}, ACCEPT)
        read_envelope(headers)
    except MalformedMessage:
        pass
    else:
        assert json.loads(body)


def test_protocol_1_made_by_celery_is_read() -> None:
    old = CELERY.amqp.as_task_v1("i", "t", (1, 2), {"k": 3}, retries=1, time_limit=5)
    headers, body = upgrade_protocol_1(dump_json(dict(old.body)), "application/json", "utf-8", {}, ACCEPT)
    envelope = read_envelope(headers)
    assert (envelope.id, envelope.name, envelope.hard_limit, envelope.retries) == ("i", "t", 5, 1)
    assert read_body(json.loads(body))[:2] == ([1, 2], {"k": 3})


def test_dates() -> None:
    assert iso_date("2030-01-01", "eta") == "2030-01-01"
    assert iso_date(datetime(2030, 1, 1), "eta") == "2030-01-01T00:00:00+00:00"
    before = datetime.now(UTC)
    in_five_seconds = iso_date(5, "countdown")
    assert in_five_seconds is not None
    soon = datetime.fromisoformat(in_five_seconds)
    assert before <= soon - timedelta(seconds=5) <= datetime.now(UTC)
    with pytest.raises(TypeError, match="eta"):
        iso_date(cast("str", []), "eta")
