"""Tasks: options, direct calls, retries, and how a runner runs them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskyard import App, Task, shared
from taskyard.client.producer import Producer
from taskyard.client.router import Route
from taskyard.context import Request, current
from taskyard.errors import AlreadyRegistered, MaxRetriesExceededError, NotRegistered, Retry
from taskyard.execution.job import ACK, MALFORMED, REJECT, REQUEUE, Job, Outcome
from taskyard.execution.runner import Runner
from taskyard.message.protocol import TaskMessage
from taskyard.result.meta import decode_meta, encode_meta, restore_exception

Sent = list[tuple[TaskMessage, Route]]


@pytest.fixture(autouse=True)
def tasks_of_this_test_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are registered with all apps: those of earlier tests are not wanted here."""
    monkeypatch.setattr(shared, "_on_app_finalizers", set(shared._on_app_finalizers))


@pytest.fixture
def app() -> App:
    return App("unit", broker="memory://", result_backend="redis://nowhere")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    messages: Sent = []
    monkeypatch.setattr(
        Producer, "publish", lambda self, message, route, **options: messages.append((message, route))
    )
    monkeypatch.setattr(
        Producer, "publish_many", lambda self, many, **options: messages.extend(each[:2] for each in many)
    )
    return messages


def run(
    app: App,
    name: str,
    *args: Any,
    headers: dict[str, Any] | None = None,
    embed: dict[str, Any] | None = None,
    body: bytes | None = None,
    store: bool = True,
    **kwargs: Any,
) -> Outcome:
    made = {"task": name, "id": "the-id", "retries": 0, **(headers or {})}
    raw = body if body is not None else json.dumps([args, kwargs, embed]).encode()
    info = {"exchange": "", "routing_key": "q", "priority": 0, "redelivered": False}
    job = Job(1, name, "the-id", raw, "application/json", "utf-8", made, {}, info)
    return Runner(app, "node", store=store).run(job)


def stored(outcome: Outcome) -> dict[str, dict[str, Any]]:
    return {task_id: decode_meta(meta) for task_id, meta in outcome.results}


def test_a_direct_call_is_only_a_call(app: App) -> None:
    @app.task(bind=True)
    def who(self: Task[..., Any], x: int) -> tuple[str, bool, int]:
        return self.name, self.request.called_directly, x

    assert who(5) == (f"{__name__}.who", True, 5)
    assert who.request.id is None


def test_bad_arguments_are_refused_at_the_call(app: App, sent: Sent) -> None:
    @app.task
    def two(a: int, b: int = 1, *, c: int = 2) -> int:
        return a

    two.delay(1)
    two.delay(1, 2)
    two.delay(1, c=3)
    for args, kwargs in [((), {}), ((1, 2, 3), {}), ((1,), {"d": 1})]:
        with pytest.raises(TypeError, match="two"):
            two.apply_async(args, kwargs)
    assert len(sent) == 3


def test_options_reach_the_message(app: App, sent: Sent) -> None:
    @app.task(name="n", queue="fast", priority=3, ignore_result=True)
    def task() -> None:
        pass

    task.apply_async()
    task.apply_async(queue="slow", priority=1, ignore_result=False)
    assert [(route.queue, route.priority) for _, route in sent] == [("fast", 3), ("slow", 1)]
    assert [message.headers["ignore_result"] for message, _ in sent] == [True, False]


def test_unknown_options_and_names_taken_are_refused(app: App) -> None:
    with pytest.raises(TypeError, match="retrys"):
        app.task(retrys=3)(lambda: None)
    app.task(name="same")(lambda: None)

    def other() -> None:
        pass

    with pytest.raises(AlreadyRegistered, match="same"):
        app.task(name="same")(other)
    with pytest.raises(NotRegistered):
        app.tasks["nothing"]


def test_success_is_stored_as_celery_stores_it(app: App) -> None:
    app.task(name="t")(lambda x: x + 1)
    outcome = run(app, "t", 1, headers={"group": "g", "parent_id": "p"})
    assert (outcome.disposition, outcome.state) == (ACK, "SUCCESS")
    meta = json.loads(outcome.results[0][1])
    assert list(meta) == [
        "status", "result", "traceback", "children", "date_done", "group_id", "parent_id", "task_id",
    ]  # fmt: skip
    assert (meta["status"], meta["result"], meta["children"]) == ("SUCCESS", 2, [])
    assert datetime.fromisoformat(meta["date_done"]).tzinfo == UTC
    assert run(app, "t", 1, headers={"ignore_result": True}).results == []
    assert run(app, "t", 1, store=False).results == []


def test_a_result_without_a_json_form_is_a_failure(app: App) -> None:
    app.task(name="t")(lambda: object())
    outcome = run(app, "t")
    assert outcome.state == "FAILURE"
    assert isinstance(stored(outcome)["the-id"]["result"], TypeError)


def test_failures_describe_the_exception(app: App) -> None:
    class Strange(Exception):  # noqa: N818
        pass

    @app.task(name="t")
    def task() -> None:
        raise Strange(1, object())

    outcome = run(app, "t", embed={"chain": [{"task": "n", "options": {"task_id": "next"}}]})
    assert (outcome.disposition, outcome.state) == (ACK, "FAILURE")
    metas = stored(outcome)
    assert set(metas) == {"the-id", "next"}
    raw = json.loads(outcome.results[0][1])
    assert raw["result"]["exc_type"].endswith("Strange")
    assert raw["result"]["exc_message"][0] == 1
    assert "raise Strange" in raw["traceback"]
    assert "runner.py" not in raw["traceback"]


@pytest.mark.parametrize(
    ("error", "disposition", "states"),
    [
        ("Ignore()", ACK, []),
        ("Reject('x')", REJECT, ["FAILURE"]),
        ("Reject('x', requeue=True)", REQUEUE, []),
    ],
)
def test_predicates(app: App, error: str, disposition: int, states: list[str]) -> None:
    from taskyard import errors

    @app.task(name="t")
    def task() -> None:
        raise eval(error, vars(errors))

    outcome = run(app, "t")
    assert outcome.disposition == disposition
    assert [json.loads(text)["status"] for _, text in outcome.results] == states


def test_what_cannot_be_run_says_so(app: App) -> None:
    assert run(app, "t", body=b"{}").disposition == MALFORMED
    unknown = run(app, "t")
    assert (unknown.disposition, unknown.state) == (REJECT, "FAILURE")


def test_hooks_run_in_order(app: App) -> None:
    seen: list[Any] = []

    class Hooked(Task[..., Any]):
        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            seen.append("before")

        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            seen.append(("success", retval))

        def after_return(
            self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
        ) -> None:
            seen.append(status)
            raise RuntimeError("a hook that fails changes nothing")

    app.task(name="t", base=Hooked)(lambda: 5)
    assert run(app, "t").state == "SUCCESS"
    assert seen == ["before", ("success", 5), "SUCCESS"]


def test_a_chain_sends_its_next_step(app: App, sent: Sent) -> None:
    app.task(name="t")(lambda: 5)
    step = {
        "task": "n",
        "args": [1],
        "kwargs": {},
        "options": {"task_id": "n1"},
        "subtask_type": None,
        "immutable": False,
    }
    last = {**step, "task": "last", "options": {"task_id": "n2"}, "immutable": True}
    outcome = run(app, "t", embed={"chain": [last, step]})
    ((message, _),) = sent
    assert message.headers["task"] == "n"
    assert (message.headers["id"], message.headers["parent_id"], message.headers["root_id"]) == (
        "n1",
        "the-id",
        "the-id",
    )
    args, _, embed = json.loads(message.body)
    assert args == [5, 1]
    assert embed["chain"] == [last]
    assert json.loads(outcome.results[0][1])["children"] == [[["n1", None], None]]


def test_a_chain_within_a_link_and_a_group_within_a_link(app: App, sent: Sent) -> None:
    app.task(name="t")(lambda: 5)
    one: dict[str, Any] = {
        "task": "one",
        "args": [],
        "kwargs": {},
        "options": {},
        "subtask_type": None,
        "immutable": False,
    }
    two = {**one, "task": "two"}
    chain = {
        "task": "celery.chain",
        "args": [],
        "kwargs": {"tasks": [one, two]},
        "options": {},
        "subtask_type": "chain",
    }
    group = {
        "task": "celery.group",
        "args": [],
        "kwargs": {"tasks": [one, two]},
        "options": {},
        "subtask_type": "group",
    }
    run(app, "t", embed={"callbacks": [chain, group]})
    assert [message.headers["task"] for message, _ in sent] == ["one", "two", "one"]
    assert sent[0][0].headers["group"] == sent[1][0].headers["group"]
    assert [message.headers["group_index"] for message, _ in sent[:2]] == [0, 1]
    (step,) = json.loads(sent[2][0].body)[2]["chain"]
    assert step["task"] == "two"


def test_a_retry_is_the_same_message_again(app: App, sent: Sent) -> None:
    @app.task(name="t", bind=True)
    def task(self: Task[..., Any], x: int) -> None:
        raise self.retry(countdown=5, exc=ValueError("v"))

    headers = {
        "timelimit": [9, 8], "x-my": 1, "x-death": [1], "x-delivery-count": 2, "root_id": "r",
        "parent_id": "p",
        "group": "g", "shadow": "s", "ignore_result": False, "expires": None,
    }  # fmt: skip
    before = datetime.now(UTC)
    outcome = run(app, "t", 7, headers=headers, embed={"errbacks": [{"task": "e"}]})
    assert (outcome.disposition, outcome.state) == (ACK, "RETRY")
    ((message, route),) = sent
    again = message.headers
    assert (again["id"], again["retries"], again["timelimit"], again["x-my"]) == ("the-id", 1, [9, 8], 1)
    assert (again["root_id"], again["parent_id"], again["group"], again["shadow"]) == ("r", "p", "g", "s")
    assert "x-death" not in again
    assert "x-delivery-count" not in again
    assert before <= datetime.fromisoformat(again["eta"]) - timedelta(seconds=5) <= datetime.now(UTC)
    assert route.queue == "q"
    body = json.loads(message.body)
    assert body[0] == [7]
    assert body[2]["errbacks"] == [{"task": "e"}]
    assert isinstance(stored(outcome)["the-id"]["result"], ValueError)


def test_retries_end(app: App, sent: Sent) -> None:
    @app.task(name="t", bind=True, max_retries=1)
    def task(self: Task[..., Any], error: bool) -> None:
        raise self.retry(exc=ValueError("mine") if error else None)

    assert run(app, "t", True).state == "RETRY"
    last = run(app, "t", True, headers={"retries": 1})
    assert last.state == "FAILURE"
    assert isinstance(stored(last)["the-id"]["result"], ValueError)
    bare = run(app, "t", False, headers={"retries": 1})
    assert isinstance(stored(bare)["the-id"]["result"], MaxRetriesExceededError)


def test_a_retry_that_cannot_be_sent_puts_the_message_back(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def publish(self: Producer, message: TaskMessage, route: Route, **options: Any) -> None:
        raise OSError("broker away")

    monkeypatch.setattr(Producer, "publish", publish)

    @app.task(name="t", bind=True)
    def task(self: Task[..., Any]) -> None:
        raise self.retry()

    assert run(app, "t").disposition == REQUEUE


def test_autoretry(app: App, sent: Sent) -> None:
    @app.task(
        name="t",
        autoretry_for=[LookupError],
        dont_autoretry_for=[IndexError],
        retry_kwargs={"max_retries": 5},
    )
    def task(which: str) -> None:
        raise {"key": KeyError, "index": IndexError, "value": ValueError}[which]()

    assert run(app, "t", "key", headers={"retries": 4}).state == "RETRY"
    assert run(app, "t", "key", headers={"retries": 5}).state == "FAILURE"
    assert run(app, "t", "index").state == "FAILURE"
    assert run(app, "t", "value").state == "FAILURE"


@pytest.mark.parametrize(
    ("retries", "least", "most"), [(0, 2, 2), (3, 16, 16), (20, 100, 100), (500, 100, 100)]
)
def test_backoff(app: App, retries: int, least: int, most: int) -> None:
    task = app.task(name="t", retry_backoff=2, retry_backoff_max=100, retry_jitter=False)(lambda: None)

    def delay() -> float:
        seconds = task.retry_delay()
        assert seconds is not None
        return seconds

    token = current.set((task, Request({"retries": retries})))
    try:
        assert least <= delay() <= most
        task.__class__.retry_jitter = True
        assert all(0 <= delay() <= most for _ in range(50))
    finally:
        current.reset(token)


def test_retry_outside_of_a_worker_raises_the_error(app: App) -> None:
    task = app.task(name="t", bind=True)(lambda self: self.retry(exc=KeyError("k")))
    with pytest.raises(KeyError):
        task()
    with pytest.raises(Retry):
        task.retry()


def test_exceptions_are_restored_safely() -> None:
    restored = decode_meta(encode_meta("i", "FAILURE", KeyError("k")))["result"]
    assert isinstance(restored, KeyError)
    evil = restore_exception({"exc_type": "system", "exc_message": ["true"], "exc_module": "os"})
    assert type(evil).__name__ == "system"
    assert isinstance(evil, Exception)
    assert isinstance(restore_exception({"exc_type": 5}), RuntimeError)
    lost = restore_exception(
        {"exc_type": "WorkerLostError", "exc_message": ["x"], "exc_module": "billiard.exceptions"}
    )
    from taskyard.errors import WorkerLostError

    assert isinstance(lost, WorkerLostError)
