"""What a task's options change when a worker runs it."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from taskyard import App, Task, shared
from taskyard.client.producer import Producer
from taskyard.execution.job import ACK, REJECT, Job, Outcome
from taskyard.execution.runner import Runner
from taskyard.result.meta import decode_meta


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setattr(shared, "_on_app_finalizers", set(shared._on_app_finalizers))
    return App("unit", broker="memory://", result_backend="redis://nowhere", set_as_current=False)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    messages: list[Any] = []
    monkeypatch.setattr(Producer, "publish", lambda self, message, *_, **__: messages.append(message))
    return messages


def run(app: App, *args: Any, events: bool = False, progress: Any = None, **headers: Any) -> Outcome:
    """Run the app's task "t" as a child of a worker does."""
    made = {"task": "t", "id": "the-id", "retries": 0, **headers}
    info = {"exchange": "", "routing_key": "q", "priority": 4, "redelivered": False}
    body = json.dumps([args, {}, None]).encode()
    job = Job(1, "t", "the-id", body, "application/json", "utf-8", made, {"events": events}, info)
    return Runner(app, "node", store=True, progress=progress).run(job)


def states(outcome: Outcome) -> list[str]:
    return [decode_meta(meta)["status"] for _, meta in outcome.results]


def fail(error: type[Exception] = ValueError, *args: Any) -> None:
    raise error(*args)


def test_errors_that_are_expected_are_one_line(app: App, caplog: pytest.LogCaptureFixture) -> None:
    app.task(name="t", throws=[KeyError])(lambda key: fail(KeyError if key else ValueError))
    with caplog.at_level(logging.INFO):
        assert run(app, 1).state == "FAILURE"
    assert [(each.levelname, "\n" in each.getMessage()) for each in caplog.records] == [("INFO", False)]
    assert "raised expected: KeyError()" in caplog.text
    run(app, 0)
    assert (caplog.records[-1].levelname, "Traceback" in caplog.text) == ("ERROR", True)


@pytest.mark.parametrize(
    ("options", "disposition"),
    [
        ({}, ACK),
        ({"acks_on_failure_or_timeout": False}, REJECT),
        ({"acks_on_failure": False}, REJECT),
        ({"acks_on_failure_or_timeout": False, "acks_on_failure": True}, ACK),
        ({"acks_on_timeout": False}, ACK),
    ],
)
def test_a_failure_is_acknowledged_unless_told_not(
    app: App, options: dict[str, Any], disposition: int
) -> None:
    define: Any = app.task(name="t", **options)
    define(fail)
    assert run(app).disposition == disposition


def test_the_settings_hold_for_tasks_that_say_nothing(app: App) -> None:
    app.conf.task_acks_on_failure = False
    app.task(name="t")(fail)
    assert run(app).disposition == REJECT


@pytest.mark.parametrize(
    ("options", "header", "expected"),
    [
        ({}, None, ["SUCCESS"]),
        ({"ignore_result": True}, None, []),
        ({"ignore_result": True}, False, ["SUCCESS"]),
        ({}, True, []),
    ],
)
def test_results_are_ignored_where_task_or_call_say_so(
    app: App, options: dict[str, Any], header: bool | None, expected: list[str]
) -> None:
    define: Any = app.task(name="t", **options)
    define(lambda: 1)
    assert states(run(app, ignore_result=header)) == expected


@pytest.mark.parametrize(
    ("own", "setting", "expected"),
    [(None, False, []), (True, False, ["FAILURE"]), (None, True, ["FAILURE"]), (False, True, [])],
)
def test_errors_of_ignored_results_may_be_stored(
    app: App, own: bool | None, setting: bool, expected: list[str]
) -> None:
    app.conf.task_store_errors_even_if_ignored = setting
    app.task(name="t", ignore_result=True, store_errors_even_if_ignored=own)(fail)
    assert states(run(app)) == expected


def test_all_results_may_be_ignored(app: App) -> None:
    app.conf.task_ignore_result = True
    app.task(name="t")(lambda: 1)
    assert states(run(app)) == []


@pytest.mark.parametrize(("options", "tracked"), [({"track_started": True}, ["STARTED"]), ({}, [])])
def test_the_start_is_stored_where_asked(app: App, options: dict[str, Any], tracked: list[str]) -> None:
    seen: list[Any] = []
    define: Any = app.task(name="t", **options)
    define(lambda: 1)
    run(app, progress=seen.append)
    assert [state for outcome in seen for state in states(outcome)] == tracked


def test_the_start_is_stored_for_all_by_a_setting(app: App) -> None:
    seen: list[Any] = []
    app.conf.task_track_started = True
    app.task(name="t")(lambda: 1)
    run(app, progress=seen.append)
    meta = decode_meta(seen[0].results[0][1])
    assert (meta["status"], set(meta["result"])) == ("STARTED", {"pid", "hostname"})


def test_results_are_shown_up_to_a_length(app: App, caplog: pytest.LogCaptureFixture) -> None:
    app.task(name="t", resultrepr_maxsize=20)(lambda: "x" * 50)
    with caplog.at_level(logging.INFO):
        outcome = run(app, events=True)
    assert outcome.report == ("'" + "x" * 20 + "...'", "")
    assert f"s: '{'x' * 20}...'" in caplog.text
    assert app.task(name="u")(fail).resultrepr_maxsize == 1024


def test_the_limit_that_a_retry_names_holds_for_autoretry_too(app: App, sent: list[Any]) -> None:
    @app.task(name="t", bind=True, autoretry_for=[ValueError], max_retries=5)
    def task(self: Task[..., Any], own: bool) -> None:
        if not own:
            raise ValueError
        try:
            raise ValueError
        except ValueError as error:
            raise self.retry(exc=error, max_retries=1) from None

    assert run(app, True, retries=0).state == "RETRY"
    assert run(app, True, retries=1).state == "FAILURE"
    assert run(app, False, retries=1).state == "RETRY", "another message of the task is not limited by it"
    assert [message.headers["retries"] for message in sent] == [1, 2]


def test_a_retry_may_have_another_priority_and_queue(app: App, sent: list[Any]) -> None:
    @app.task(name="t", bind=True)
    def task(self: Task[..., Any], options: dict[str, Any]) -> None:
        raise self.retry(**options)

    run(app, {})
    run(app, {"priority": 6})
    run(app, {"expires": 30, "time_limit": 33, "headers": {"n": 1}})
    assert [message.priority for message in sent] == [4, 6, 4]
    last = sent[-1].headers
    assert (last["timelimit"], last["n"], bool(last["expires"])) == ([33, None], 1, True)


def test_hooks_hear_of_failures_and_retries(app: App, sent: list[Any]) -> None:
    heard: list[Any] = []

    class Telling(Task[..., Any]):
        def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            heard.append(("failure", exc, task_id, args, einfo.type, "Traceback" in einfo.traceback))

        def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            heard.append(("retry", exc, task_id, args, einfo.type, "Traceback" in einfo.traceback))

        def after_return(
            self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
        ) -> None:
            heard.append((status, retval, task_id, args))

    error = KeyError("k")

    @app.task(name="t", bind=True, base=Telling, max_retries=1)
    def task(self: Task[..., Any], x: int) -> None:
        raise self.retry(exc=error, countdown=1)

    run(app, 7)
    run(app, 7, retries=1)
    kinds = [(each[0], each[1], each[2], each[3]) for each in heard]
    assert kinds == [
        ("retry", error, "the-id", [7]),
        ("failure", error, "the-id", [7]),
        ("FAILURE", error, "the-id", [7]),
    ]
    assert heard[1][4:] == (KeyError, True)


def test_a_hook_that_fails_does_not_fail_the_task(app: App, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Task[..., Any]):
        def on_success(self, *args: Any) -> None:
            raise RuntimeError("hook")

    app.task(name="t", base=Broken)(lambda: 1)
    assert states(run(app)) == ["SUCCESS"]
    assert "Broken.on_success failed" in caplog.text


def test_a_task_sees_its_messages_properties(app: App) -> None:
    seen: list[Any] = []
    app.task(name="t", bind=True)(lambda self: seen.append(self.request.properties))
    run(app, events=True)
    assert seen == [
        {"delivery_mode": 2, "priority": 4, "delivery_info": {"exchange": "", "routing_key": "q"}},
    ]
