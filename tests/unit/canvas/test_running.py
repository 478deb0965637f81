"""Canvases while they run: what a runner sends after a task, and tasks that are replaced."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskyard import App, signals
from taskyard.canvas import chain, group
from taskyard.errors import BrokerDisconnected, ImproperlyConfigured
from taskyard.execution.job import ACK, REJECT, REQUEUE, Job, Outcome
from taskyard.execution.runner import Runner
from taskyard.message.codec import dump_json


@pytest.fixture(autouse=True)
def parts(app: App, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the store hears of chords: (task id, state, value)."""
    heard: list[Any] = []
    kind = type(app.backend)
    monkeypatch.setattr(
        kind,
        "on_chord_part_return",
        lambda self, request, state, result, **_: heard.append((request.id, state, result)),
    )
    monkeypatch.setattr(kind, "set_chord_size", lambda self, group_id, size: None)
    monkeypatch.setattr(kind, "apply_chord", lambda self, *args, **options: None)
    return heard


def run(app: App, name: str, *args: Any, headers: dict[str, Any] | None = None, **embed: Any) -> Outcome:
    app.backend.forget("the-id")
    made = {"task": name, "id": "the-id", "retries": 0, "root_id": "root", **(headers or {})}
    body = dump_json([args, {}, embed or None])
    info = {"exchange": "", "routing_key": "q", "priority": 0, "redelivered": False}
    job = Job(1, name, "the-id", body, "application/json", "utf-8", made, {}, info)
    return Runner(app, "node", store=True).run(job)


def test_the_next_step_gets_the_result_and_the_rest(app: App, sent: list[Any]) -> None:
    canvas = app.tasks["b"].s() | app.tasks["c"].s()
    canvas.freeze()
    outcome = run(app, "add", 1, 2, chain=list(reversed(canvas.tasks)))
    assert outcome.disposition == ACK
    (message,) = sent
    assert (message.task, message.args) == ("b", [3])
    assert [step["task"] for step in message.embed["chain"]] == ["c"]
    assert (message.headers["parent_id"], message.headers["root_id"]) == ("the-id", "root")
    assert message.headers["id"] == canvas.tasks[0].id


def test_links_get_the_result(app: App, sent: list[Any]) -> None:
    a, b, c = (app.tasks[name].s() for name in "abc")
    run(app, "add", 1, 2, callbacks=[a, b | c, group(a, b)])
    assert sorted(message.task for message in sent) == ["a", "a", "b", "b"]
    assert all(message.args == [3] for message in sent)


def test_what_was_sent_is_among_the_children(app: App, sent: list[Any]) -> None:
    run(app, "add", 1, 2, callbacks=[app.tasks["a"].s()])
    meta = app.backend.get_task_meta("the-id")
    assert meta["children"] == [[[sent[0].headers["id"], None], None]]


def test_a_message_goes_back_when_its_successor_cannot_be_sent(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: Any, **options: Any) -> None:
        raise BrokerDisconnected("gone")

    monkeypatch.setattr("taskyard.client.producer.Producer.publish", unreachable)
    assert run(app, "add", 1, 2, callbacks=[app.tasks["a"].s()]).disposition == REQUEUE
    app.tasks["add"].acks_late = False  # it is gone from its queue
    following = app.tasks["a"].s()
    following.freeze("following")
    assert run(app, "add", 1, 2, chain=[following]).disposition == ACK
    assert [app.backend.get_state(each) for each in ("the-id", "following")] == ["FAILURE", "FAILURE"]


def test_a_chord_hears_of_success_and_failure(app: App, sent: list[Any], parts: list[Any]) -> None:
    body = app.tasks["total"].s()
    run(app, "add", 1, 2, headers={"group": "g", "group_index": 0}, chord=body)
    run(app, "add", 1, None, headers={"group": "g", "group_index": 1}, chord=body)
    assert parts[0] == ("the-id", "SUCCESS", 3)
    assert parts[1][:2] == ("the-id", "FAILURE")
    assert isinstance(parts[1][2], TypeError)


def test_the_rest_of_a_chain_fails_with_a_step(app: App, sent: list[Any]) -> None:
    canvas = app.tasks["a"].s() | app.tasks["b"].s()
    canvas.freeze("last")
    run(app, "add", 1, None, chain=list(reversed(canvas.tasks)))
    assert app.backend.get_state("last") == "FAILURE"
    assert app.backend.get_state(canvas.tasks[0].id) == "FAILURE"
    assert sent == []


def test_error_links_of_both_styles(app: App, sent: list[Any]) -> None:
    called: list[Any] = []
    app.task(name="new_style", shared=False)(lambda request, exc, traceback: called.append((request.id, exc)))
    app.task(name="old_style", shared=False)(lambda task_id: None)
    run(app, "add", 1, None, errbacks=[app.tasks["new_style"].s(), app.tasks["old_style"].s()])
    ((task_id, error),) = called
    assert (task_id, type(error)) == ("the-id", TypeError)
    assert [(message.task, message.args) for message in sent] == [("old_style", ["the-id"])]


def test_an_end_that_cannot_be_recorded_is_an_internal_error(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def receiver(**named: Any) -> None:
        seen.append((named["sender"].name, named["task_id"], named["exception"]))

    def broken(*args: Any, **options: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(type(app.backend), "store_result", broken)
    signals.task_internal_error.connect(receiver)
    try:
        outcome = run(app, "add", 1, 2)
    finally:
        signals.task_internal_error.disconnect(receiver)
    assert (outcome.disposition, outcome.state) == (REJECT, "FAILURE")
    assert "broken" in outcome.reason
    ((task, task_id, error),) = seen
    assert (task, task_id, str(error)) == ("add", "the-id", "broken")


def test_a_task_with_a_store_of_its_own(app: App) -> None:
    kept: list[Any] = []

    class Store(type(app.backend)):  # type: ignore[misc]
        def store_result(self, task_id: str, result: Any, state: str, **options: Any) -> Any:
            kept.append((state, result))

    own = app.task(name="own", shared=False)(lambda x: 1 / x)
    own.backend = Store(app)
    run(app, "own", 1)
    run(app, "own", 0)
    assert kept[0] == ("SUCCESS", 1.0)
    assert (kept[1][0], type(kept[1][1])) == ("FAILURE", ZeroDivisionError)
    assert app.backend.get_state("the-id") == "PENDING"


def replacing(app: App, make: Any, **embed: Any) -> Outcome:
    app.task(name="replaced", bind=True, shared=False)(lambda self: self.replace(make()))
    headers = {"group": "g", "group_index": 4, "replaced_task_nesting": 1}
    return run(app, "replaced", headers=headers, **embed)


def test_a_replacement_takes_id_links_chain_and_chord(app: App, sent: list[Any]) -> None:
    a, b, c, d = (app.tasks[name].s() for name in "abcd")
    for task, name in ((b, "b"), (c, "c")):
        task.freeze(f"{name}-id")
    outcome = replacing(
        app, lambda: a, callbacks=[d], errbacks=[d], chain=[c, b], chord=app.tasks["total"].s()
    )
    assert (outcome.disposition, outcome.state) == (ACK, "IGNORED")
    (message,) = sent
    assert (message.task, message.headers["id"]) == ("a", "the-id")
    assert [link["task"] for link in message.embed["callbacks"]] == ["d"]
    assert [link["task"] for link in message.embed["errbacks"]] == ["d"]
    assert [step["options"]["task_id"] for step in message.embed["chain"]] == ["c-id", "b-id"]
    assert message.headers["replaced_task_nesting"] == 2
    assert message.headers["root_id"] == "root"


def test_a_replacement_by_a_group_is_gathered(app: App, sent: list[Any]) -> None:
    a, b = app.tasks["a"].s(), app.tasks["b"].s()
    replacing(app, lambda: group(a, b), chord=app.tasks["total"].s())
    assert [message.task for message in sent] == ["a", "b"]
    gatherer = sent[0].embed["chord"]
    assert (gatherer["task"], gatherer["options"]["task_id"]) == ("celery.accumulate", "the-id")
    assert gatherer["options"]["chord"]["task"] == "total"
    assert (gatherer["options"]["group_id"], gatherer["options"]["group_index"]) == ("g", 4)


def test_a_replacement_by_a_chain_ends_where_the_task_would_have(app: App, sent: list[Any]) -> None:
    a, b, d = (app.tasks[name].s() for name in "abd")
    replacing(app, lambda: a | b, callbacks=[d], chord=app.tasks["total"].s())
    (message,) = sent
    (last,) = message.embed["chain"]
    assert message.task == "a"
    assert last["options"]["task_id"] == "the-id"
    assert [link["task"] for link in last["options"]["link"]] == ["d"]
    assert last["options"]["chord"]["task"] == "total"
    assert message.embed["chord"] is None


def test_what_cannot_replace(app: App, sent: list[Any]) -> None:
    in_chord = app.tasks["a"].s().set(chord=app.tasks["total"].s())
    for make in (lambda: in_chord, chain):
        assert replacing(app, make).state == "FAILURE"
        error = app.backend.get_result("the-id")
        assert isinstance(error, ImproperlyConfigured)


def test_a_hook_may_change_the_replacement(app: App, sent: list[Any]) -> None:
    class Stamped(app.Task):  # type: ignore[misc, name-defined]
        def on_replace(self, sig: Any) -> Any:
            sig.stamp(by="hook")
            return super().on_replace(sig)

    app.task(name="r", bind=True, base=Stamped, shared=False)(lambda self: self.replace(app.tasks["a"].s()))
    run(app, "r")
    assert sent[0].headers["stamps"] == {"by": "hook"}


def test_add_to_chord(app: App, sent: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[Any] = []
    monkeypatch.setattr(type(app.backend), "add_to_chord", lambda self, gid, result: added.append(gid))
    app.task(name="grows", bind=True, shared=False)(lambda self: str(self.add_to_chord(app.tasks["a"].si())))
    run(app, "grows", headers={"group": "g"}, chord=app.tasks["total"].s())
    assert added == ["g"]
    assert (sent[0].task, sent[0].headers["group"]) == ("a", "g")
    assert sent[0].embed["chord"]["task"] == "total"
    assert run(app, "grows").state == "FAILURE"


def test_every_app_has_celerys_own_tasks(app: App) -> None:
    names = "accumulate backend_cleanup chain chord chord_unlock chunks group map ping starmap"
    assert {f"celery.{name}" for name in names.split()} <= set(app.tasks)
    assert app.tasks["celery.accumulate"](1, 2) == (1, 2)
    assert app.tasks["celery.accumulate"](1, 2, index=1) == 2
    assert app.tasks["celery.ping"]() == "pong"
    assert app.tasks["celery.map"](json.loads(dump_json(app.tasks["total"].s())), [[1, 2], [3]]) == [3, 3]
