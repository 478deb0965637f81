"""What becomes of a task whose hooks raise, and of one that was done before."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from taskyard import App, Task
from taskyard.exceptions import Ignore, Reject
from taskyard.execution import tracing
from taskyard.execution.job import ACK, REJECT, Job, Outcome
from taskyard.execution.runner import Runner
from taskyard.result.meta import decode_meta


class Hooked(Task[..., Any]):
    seen: list[Any]
    error: Exception

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        self.seen.append("success")
        if args[0] == "success":
            raise self.error

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        self.seen.append(status)
        if args[0] == "return":
            raise self.error


@pytest.fixture
def app() -> App:
    return App("hooks", broker="memory://", result_backend="redis://nowhere", set_as_current=False)


@pytest.fixture
def task(app: App) -> Any:
    @app.task(name="t", base=Hooked, shared=False)
    def hooked(where: str) -> int:
        if where == "ignore":
            raise Ignore
        return 3

    made: Any = hooked
    made.seen, made.error = [], ValueError("of the hook")
    return made


def run(app: App, where: str, **info: Any) -> Outcome:
    body = json.dumps([[where], {}, None]).encode()
    job = Job(1, "t", "i", body, "application/json", "utf-8", {"task": "t", "id": "i"}, {}, info)
    return Runner(app, "node", store=True).run(job)


@pytest.mark.parametrize("where", ["success", "return"])
def test_a_success_stays_one_when_a_hook_fails(
    app: App, task: Any, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = run(app, where)
    assert (outcome.disposition, decode_meta(outcome.results[0][1])["result"]) == (ACK, 3)
    assert task.seen == ["success", "SUCCESS"]
    assert "of the hook" in caplog.text


@pytest.mark.parametrize("where", ["success", "return"])
def test_a_hook_may_reject_the_message(app: App, task: Any, where: str) -> None:
    task.error = Reject("no", requeue=False)
    outcome = run(app, where)
    assert (outcome.disposition, outcome.state) == (REJECT, "REJECTED")
    assert [decode_meta(meta)["status"] for _, meta in outcome.results] == ["FAILURE"]


def test_an_eager_run_raises_what_a_hook_raises(task: Any) -> None:
    for where in ("success", "return"):
        with pytest.raises(ValueError, match="of the hook"):
            task.apply((where,), throw=False)
    del task.seen[:]
    assert task.apply(("ignore",)).state == "IGNORED"
    assert task.seen == []


def test_what_was_done_is_not_done_again(app: App, task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app.conf.worker_deduplicate_successful_tasks = True
    answers: list[Any] = ["SUCCESS", "STARTED", ConnectionError("away")]

    def get_state(task_id: str) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(app.backend, "get_state", get_state)
    assert run(app, "plain", redelivered=True).results == []
    assert task.seen == []
    for count in (1, 2):
        assert run(app, "plain", redelivered=True).state == "SUCCESS"
        assert task.seen == ["success", "SUCCESS"] * count


def test_what_follows_a_success_is_no_reason_to_run_it_again(app: App) -> None:
    ran: list[int] = []

    @app.task(name="t", autoretry_for=(Exception,), shared=False)
    def unstorable(where: str) -> Any:
        ran.append(1)
        return object()

    outcome = run(app, "")
    assert (outcome.state, [decode_meta(meta)["status"] for _, meta in outcome.results]) == (
        "FAILURE",
        ["FAILURE"],
    )
    assert ran == [1]


def test_log_lines_of_the_programs_own(
    app: App, task: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "LOG_SUCCESS", "%(name)s%(args)s gave %(return_value)s")
    monkeypatch.setattr(tracing, "LOG_FAILURE", "%(name)s %(description)s")
    with caplog.at_level(logging.INFO):
        run(app, "plain")
        app.task(name="t2", shared=False)(lambda: 1 / 0)
        app.tasks.unregister("t")
        app.tasks["t"] = app.tasks["t2"]
        run(app, "too many arguments")
    texts = [record.getMessage().partition("\n")[0] for record in caplog.records]
    assert texts == ["t['plain'] gave 3", "t raised unexpected"]
    data = [vars(record)["data"] for record in caplog.records]
    assert [each["id"] for each in data] == ["i", "i"]
    assert data[1]["exc"].startswith("TypeError(")
