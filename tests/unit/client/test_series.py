"""Many calls of one task: only the first is composed, and nobody can tell."""

from __future__ import annotations

import json
from base64 import b64decode
from itertools import count
from typing import Any

import pytest
from kombu.exceptions import EncodeError

from taskyard import App, signals
from taskyard.broker.redis.line import RedisLine
from taskyard.broker.redis.names import names_for
from taskyard.broker.redis.resp import RespReader
from taskyard.client.producer import Producer
from taskyard.client.router import Route
from taskyard.context import Context, enter, leave
from taskyard.message.alike import Alike

ARGUMENTS: list[Any] = [
    (1,), (), None, [], ["100 %s"], ('"quoted"', "ü \u2028"), ({"deep": [1.5, None]},), (float("inf"),),
    ("\ud800",),
]  # fmt: skip


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the producer gets."""
    caught: list[Any] = []
    monkeypatch.setattr(Producer, "publish_many", lambda self, many, **options: caught.extend(many))
    return caught


class CaughtLine(RedisLine):
    """Keeps what it would send."""

    __slots__ = ("commands",)

    def __init__(self) -> None:
        self.names = names_for({})
        self.commands: list[bytes] = []
        self._tags = map("tag-%d-of-the-line".__mod__, count())

    def request(self, commands: list[bytes]) -> None:
        self.commands += commands


def envelopes(messages: list[Any]) -> list[Any]:
    """What a line writes for them."""
    line = CaughtLine()
    line.publish(messages)
    reader = RespReader()
    reader.feed(b"".join(line.commands))
    found = []
    for _ in line.commands:
        command, key, *texts = reader.next()
        assert command == b"LPUSH"
        assert key.startswith(b"q")
        found += [json.loads(text) for text in texts]
    one = CaughtLine()
    one.publish_one(*messages[0])
    reader.feed(one.commands[0])
    assert [json.loads(text) for text in reader.next()[2:]] == found[:1], "one alone is written the same way"
    return found


def neutral(envelope: Any) -> Any:
    """The same for each call of the same arguments: its id is known by its name only."""
    text = json.dumps(envelope)
    for value, name in ((envelope["headers"]["id"], "ID"), (envelope["properties"]["delivery_tag"], "TAG")):
        text = text.replace(value, name)
    known = json.loads(text)
    known["body"] = json.loads(b64decode(envelope["body"]))
    return known


@pytest.mark.parametrize("more", [{}, {"priority": 3, "ignore_result": True, "link": [{"task": "100%"}]}])
@pytest.mark.parametrize("known", [True, False])
def test_a_series_says_what_single_calls_say(app: App, pairs: list[Any], known: bool, more: Any) -> None:
    @app.task(name="series.any", shared=False)
    def anything(*args: Any, **kwargs: Any) -> None: ...

    task: Any = anything if known else "series.unknown"
    options = {"queue": "q", **more}
    calls = [(task, args, kwargs, options) for args in ARGUMENTS for kwargs in (None, {"k%": '"v"'})]
    app.send_tasks(calls)
    together = [(message, route, mode) for message, route, mode, _ in pairs]
    assert [type(message) is Alike for message, _, _ in together] == [False, *[True] * (len(calls) - 1)]
    pairs.clear()
    for call in calls:
        app.send_tasks([call])
    apart = [(message, route, mode) for message, route, mode, _ in pairs]
    written = envelopes(together)
    assert [neutral(each) for each in written] == [neutral(each) for each in envelopes(apart)]
    assert len({each["headers"]["id"] for each in written}) == len(calls)
    assert len({each["properties"]["delivery_tag"] for each in written}) == len(calls)
    for (message, _, _), envelope in zip(together, written, strict=True):
        assert message.headers == envelope["headers"]
        assert message.properties.items() <= envelope["properties"].items()


def test_ids_and_places_in_a_group_are_each_calls_own(app: App, pairs: list[Any]) -> None:
    common = {"group_id": "g", "root_id": "r", "queue": "q"}
    calls: list[Any] = [
        ("t", (), {}, {**common, "task_id": f"%{index}", "group_index": index}) for index in range(3)
    ]
    results = app.send_tasks(calls)
    assert [result.id for result in results] == ["%0", "%1", "%2"]
    headers = [each["headers"] for each in envelopes([(each[0], each[1], each[2]) for each in pairs])]
    assert [(each["id"], each["root_id"], each["group"], each["group_index"]) for each in headers] == [
        ("%0", "r", "g", 0), ("%1", "r", "g", 1), ("%2", "r", "g", 2),
    ]  # fmt: skip


def test_calls_of_other_options_are_composed_one_by_one(app: App, pairs: list[Any]) -> None:
    @app.task(name="series.one", shared=False)
    def one(x: int) -> None: ...

    app.send_tasks([(one, (1,)), (one, (2,), {}, {"queue": "q"}), ("t",), (one, (3,), {}, {"queue": "q"})])
    assert [type(each[0]) is Alike for each in pairs] == [False, False, False, True]
    assert [each[1].queue for each in pairs] == ["celery", "q", "celery", "q"]
    pairs.clear()
    for options in ({"countdown": 5}, {"expires": 60}, {"headers": {"a": 1}}, {"serializer": "pickle"}):
        app.send_tasks([(one, (1,), {}, options)] * 2)
    assert not any(type(each[0]) is Alike for each in pairs)
    with pytest.raises(TypeError, match=r"series\.one"):
        app.send_tasks([(one, (1,)), (one, (1, 2))])
    with pytest.raises(EncodeError, match=r"series\.one"):
        app.send_tasks([(one, (1,)), (one, (object(),))])


def test_whoever_watches_sees_each_message(app: App, pairs: list[Any]) -> None:
    seen: list[Any] = []

    def note(headers: Any, **more: Any) -> None:
        seen.append(headers["argsrepr"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signals, "before_task_publish", signals.Signal("before_task_publish"))
        signals.before_task_publish.connect(note)
        app.send_tasks([("t", (number,)) for number in range(3)])
    assert seen == ["(0,)", "(1,)", "(2,)"]
    pairs.clear()
    app.conf.task_routes = [lambda name, args, kwargs, options, **more: f"q{args[0]}"]
    app.send_tasks([("t", (number,)) for number in range(3)])
    assert [route.queue for _, route, _, _ in pairs] == ["q0", "q1", "q2"]
    assert isinstance(pairs[0][1], Route)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the producer gets one by one."""
    caught: list[Any] = []
    monkeypatch.setattr(
        Producer, "publish", lambda self, message, route, **more: caught.append((message, route))
    )
    return caught


def is_alike(published: list[Any]) -> bool:
    return type(published[-1][0]) is Alike


def test_the_same_call_again_and_again_is_composed_twice(app: App, published: list[Any]) -> None:
    @app.task(name="again", shared=False)
    def again(x: int = 0) -> None: ...

    results = [again.delay(number) for number in range(4)]
    assert [type(message) is Alike for message, _ in published] == [False, False, True, True]
    assert [result.id for result in results] == [message.headers["id"] for message, _ in published]
    assert [message.headers["argsrepr"] for message, _ in published] == ["(0,)", "(1,)", "(2,)", "(3,)"]
    first, last = published[0][0], published[-1][0]
    different = {"id", "root_id", "argsrepr"}
    assert {**first.headers, **dict.fromkeys(different)} == {**last.headers, **dict.fromkeys(different)}
    assert list(first.headers) == list(last.headers)
    assert json.loads(last.body) == [[3], {}, json.loads(first.body)[2]]
    again.apply_async((5,), task_id="own")
    assert is_alike(published)
    assert published[-1][0].headers["id"] == published[-1][0].headers["root_id"] == "own"
    with pytest.raises(TypeError, match="again"):
        again.apply_async((1, 2))
    with pytest.raises(EncodeError, match="again"):
        again.apply_async((object(),))


def test_what_a_message_rests_upon_may_change(app: App, published: list[Any]) -> None:
    def sent_again() -> bool:
        app.send_task("t", (1,))
        return is_alike(published)

    def settle() -> None:
        assert any(sent_again() for _ in range(4))

    settle()
    for name, value in (
        ("task_serializer", "pickle"), ("task_compression", "zlib"), ("task_send_sent_event", False),
        ("task_routes", {"t": "elsewhere"}), ("task_default_delivery_mode", 1), ("task_repr_maxlevels", 1),
    ):  # fmt: skip
        before = app.conf[name]
        app.conf[name] = value
        now_alike = sent_again()
        message, route = published[-1]
        expected = {"task_serializer": "application/x-python-serialize"}.get(name, "application/json")
        assert message.content_type == expected
        assert ("compression" in message.headers) == (name == "task_compression")
        assert now_alike == (name == "task_send_sent_event")
        assert route.queue == ("elsewhere" if name == "task_routes" else "celery")
        app.conf[name] = before
        settle()
    app.send_task("t", (1,), countdown=5)
    assert published[-1][0].headers["eta"]
    assert sent_again()
    enter(None, Context({"id": "p", "root_id": "r"}, called_directly=False))
    try:
        assert not sent_again()
        assert published[-1][0].headers["parent_id"] == "p"
    finally:
        leave()
    assert sent_again()
    assert published[-1][0].headers["parent_id"] is None
