"""A worker of Celery and one of ours on one Redis: the same events, the same answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from taskyard import App
from tests.integration.remote.command_lines import COMMANDS, REFUSED, Done, replies
from tests.integration.remote.parity import OURS, QUEUES, THEIRS, Pair
from tests.integration.worker.harness import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("parity")]

#: What Celery sends for each task, in order.
EVENTS = {
    "add": ["received", "started", "succeeded"],
    "fail": ["received", "started", "failed"],
    "unacked": ["received", "started", "rejected", "failed"],
    "retry": ["received", "started", "retried", "received", "started", "succeeded"],
    "ignore": ["received", "started"],
    "reject": ["received", "started", "failed", "rejected"],
    "requeue": ["received", "started", "rejected", "received", "started", "succeeded"],
    "over": ["received", "started", "failed"],  # which Celery sends twice
    "die": ["received", "started", "failed"],
    "die_once": ["received", "started", "rejected", "received", "started", "succeeded"],
    "die_retried": ["received", "started", "retried", "received", "started", "succeeded"],
    "progress": ["received", "started", "progress", "succeeded"],
    "silent": [],
    "unknown": ["failed"],
    "expired": ["revoked"],
    "revoked": ["revoked"],
    "terminated": ["received", "started", "revoked"],
}
_CALLS: dict[str, dict[str, Any]] = {
    "add": {"args": (2, 3)},
    "expired": {"name": "add", "args": (2, 3), "expires": -1},
    "revoked": {"name": "add", "args": (2, 3)},
    "terminated": {"name": "nap", "args": (600,)},
}
#: Fields whose values are the same from both.
_SAME = (
    *("exception", "result", "name", "args", "kwargs", "retries"),
    *("requeue", "terminated", "signum", "expired", "percent"),
)


@pytest.fixture(scope="module")
def lives(pair: Pair) -> dict[str, dict[str, str]]:
    """The task ids by scenario and node, after all have ended."""
    ids = {scenario: {node: f"{scenario} {node}" for node in QUEUES} for scenario in EVENTS}
    pair.client.control.revoke(list(ids["revoked"].values()), reply=True, timeout=60, limit=2)
    for scenario in EVENTS:
        call = dict(_CALLS.get(scenario, {}))
        name = f"parity_jobs.{call.pop('name', scenario)}"
        for node, queue in QUEUES.items():
            pair.client.send_task(name, queue=queue, task_id=ids[scenario][node], **call)
    for task_id in ids["terminated"].values():
        wait_until(lambda task_id=task_id: "started" in pair.types(task_id), what="it runs")  # type: ignore[misc]
        pair.client.control.revoke(task_id, terminate=True, signal="SIGTERM")
    expected = {task_id: len(EVENTS[each]) for each in EVENTS for task_id in ids[each].values()}

    def missing() -> list[str]:
        return [task_id for task_id, count in expected.items() if len(pair.types(task_id)) < count]

    # What is missing at the end is seen by the tests.
    deadline = time.monotonic() + 120
    while missing() and time.monotonic() < deadline:
        time.sleep(0.05)
    return ids


@pytest.mark.parametrize("scenario", EVENTS)
def test_each_task_s_events_are_celery_s(scenario: str, pair: Pair, lives: dict[str, dict[str, str]]) -> None:
    theirs, ours = (pair.of(lives[scenario][node]) for node in (THEIRS, OURS))
    if scenario == "over":
        del theirs[3:]
    for node, events in ((THEIRS, theirs), (OURS, ours)):
        drop_returns(events)
        types = [event["type"].removeprefix("task-") for event in events]
        # What is sent again may come before the word that it was sent.
        again = "received" in types[1:] or "progress" in types
        assert (sorted(types) if again else types) == (
            sorted(EVENTS[scenario]) if again else EVENTS[scenario]
        ), node
        events.sort(key=lambda event: (event["type"], event["timestamp"]))
    same = [name for name in _SAME if name != "exception" or not _unreadable(scenario)]
    for one, other in zip(theirs, ours, strict=True):
        assert kinds(one) == kinds(other)
        assert {name: one.get(name) for name in same} == {name: other.get(name) for name in same}


def drop_returns(events: list[dict[str, Any]]) -> None:
    """Of what was received, given back before it began, because processes died, and received again, once."""
    returns = [
        at
        for at, (one, other) in enumerate(pairwise(events))
        if one["type"] == other["type"] == "task-received" and one["retries"] == other["retries"]
    ]
    for at in reversed(returns):
        del events[at]


def _unreadable(scenario: str) -> bool:
    """Where Celery shows a wrapper in place of the exception."""
    return scenario in ("over", "die", "die_retried")


def kinds(event: dict[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in event.items() if value is not None}


@pytest.mark.parametrize("kind", ["worker-online", "worker-heartbeat"])
def test_both_say_the_same_of_themselves(kind: str, pair: Pair) -> None:
    wait_until(lambda: pair.first(kind, THEIRS) and pair.first(kind, OURS), what=kind)
    one, other = pair.first(kind, THEIRS), pair.first(kind, OURS)
    assert one is not None
    assert other is not None
    assert kinds(one) == kinds(other)
    for name in ("freq", "sw_ident", "sw_ver", "sw_sys"):
        assert one[name] == other[name]


#: Questions, their arguments, and whether the answers are equal or only of the same shape.
QUESTIONS: list[tuple[str, dict[str, Any], bool]] = [
    ("ping", {}, True),
    ("clock", {}, False),
    ("report", {}, False),
    ("active", {}, False),
    ("active", {"safe": True}, False),
    ("scheduled", {}, False),
    ("reserved", {}, True),
    ("revoked", {}, False),
    ("registered", {}, True),
    ("registered", {"taskinfoitems": ["name", "max_retries"]}, True),
    ("stats", {}, False),
    ("active_queues", {}, False),
    ("query_task", {"ids": ["busy celery@test", "busy ours@test", "nothing"]}, False),
    ("hello", {"from_node": "other@test", "revoked": ["gone"]}, False),
    ("rate_limit", {"task_name": "parity_jobs.add", "rate_limit": "often"}, False),
    ("election", {"id": "e1", "topic": "nobody", "action": None}, False),
]
#: Orders and their answers.
ORDERS: list[tuple[str, dict[str, Any]]] = [
    ("rate_limit", {"task_name": "parity_jobs.add", "rate_limit": "5/m"}),
    ("rate_limit", {"task_name": "parity_jobs.add", "rate_limit": "1000/s"}),
    ("rate_limit", {"task_name": "nothing", "rate_limit": "5/m"}),
    ("time_limit", {"task_name": "parity_jobs.add", "hard": 60, "soft": 30}),
    ("time_limit", {"task_name": "nothing", "hard": 60}),
    ("disable_events", {}),
    ("disable_events", {}),
    ("enable_events", {}),
    ("enable_events", {}),
    ("heartbeat", {}),
    ("pool_grow", {"n": 1}),
    ("pool_shrink", {"n": 1}),
    ("autoscale", {"max": 3, "min": 1}),
    ("add_consumer", {"queue": "more"}),
    ("cancel_consumer", {"queue": "more"}),
    ("revoke", {"task_id": "one"}),
    ("revoke", {"task_id": ["one"]}),
    ("revoke", {"task_id": ["one"], "terminate": True}),
    ("terminate", {"signal": "KILL", "task_id": ["one"]}),
    ("revoke_by_stamped_headers", {"headers": {"customer": ["acme"]}}),
    ("revoke_by_stamped_headers", {"headers": {"customer": ["acme"]}, "terminate": True}),
    ("nosuch", {}),
]


@pytest.fixture(scope="module")
def busy(pair: Pair, lives: dict[str, dict[str, str]]) -> Iterator[None]:
    """Each of them runs a task and has one for later."""
    for node, queue in QUEUES.items():
        pair.client.send_task("parity_jobs.nap", (600,), queue=queue, task_id=f"busy {node}")
        pair.client.send_task("parity_jobs.add", (1, 2), queue=queue, countdown=600)
    for node in QUEUES:
        wait_until(lambda node=node: "started" in pair.types(f"busy {node}"), what="it runs")  # type: ignore[misc]
    yield
    pair.client.control.revoke([f"busy {node}" for node in QUEUES], terminate=True, signal="KILL")


@pytest.fixture(params=["celery", "ours"])
def control(request: pytest.FixtureRequest, pair: Pair) -> Any:
    if request.param == "celery":
        return pair.client.control
    return App("client", broker=pair.url, backend=pair.url).control


def ask(control: Any, command: str, arguments: dict[str, Any]) -> tuple[Any, Any]:
    """What Celery's worker and ours answer."""
    replies = control.broadcast(
        command, arguments=arguments, destination=[THEIRS, OURS], reply=True, timeout=60, limit=2
    )
    answers = {node: answer for reply in replies for node, answer in reply.items()}
    return answers[THEIRS], answers[OURS]


def shape(value: Any) -> Any:
    """Names and types; of a list that of its first member."""
    if isinstance(value, dict):
        names = {name.replace(THEIRS, "node").replace(OURS, "node"): name for name in value}
        return {short: shape(value[name]) for short, name in names.items()}
    if isinstance(value, list):
        return [shape(each) for each in value[:1]]
    return "number" if isinstance(value, (int, float)) else type(value).__name__


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize(("command", "arguments", "equal"), QUESTIONS)
def test_questions_have_celery_s_answers(
    command: str, arguments: dict[str, Any], equal: bool, control: Any
) -> None:
    theirs, ours = ask(control, command, arguments)
    if command == "stats":
        assert set(theirs.pop("total")) == set(ours.pop("total")) - {"parity_jobs.unknown"}
    assert shape(theirs) == shape(ours)
    if equal:
        assert theirs == ours


@pytest.mark.usefixtures("busy")
def test_orders_have_celery_s_answers(control: Any) -> None:
    for command, arguments in ORDERS:
        theirs, ours = ask(control, command, arguments)
        assert theirs == ours, (command, arguments)
    theirs, ours = ask(control, "conf", {})
    assert set(ours) <= set(theirs)


def test_every_command_is_asked() -> None:
    from celery.worker.control import Panel

    untested = {"objgraph", "memsample", "memdump", "shutdown", "pool_restart", "conf"}
    assert {command for command, *_ in [*QUESTIONS, *ORDERS]} >= set(Panel.meta) - untested


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_both_command_lines_say_the_same(
    command: list[str], our_command_line: Any, celery_s: dict[str, Done]
) -> None:
    theirs = celery_s[" ".join(command)]
    ours, _ = our_command_line(command)
    assert ours.code == theirs.code == 0
    assert replies(ours.text) == replies(theirs.text)


@pytest.mark.parametrize("command", REFUSED, ids=" ".join)
def test_both_command_lines_refuse_the_same(
    command: list[str], our_command_line: Any, celery_s: dict[str, Done]
) -> None:
    ours, complaint = our_command_line(command)
    assert ours == (celery_s[" ".join(command)].code, "")
    assert len(complaint.splitlines()) == 1
