"""Hooks and signals of tasks that end by no doing of their own."""

from __future__ import annotations

from typing import Any

import pytest

from taskyard import App, Task, signals
from taskyard.context import Request
from taskyard.errors import Retry, TimeLimitExceeded, WorkerLostError
from taskyard.result.store_thread import Verdict
from taskyard.worker.told import tell


@pytest.mark.parametrize(
    ("state", "error", "expected"),
    [
        ("FAILURE", TimeLimitExceeded(3), ["on_failure x (1,)", "after_return FAILURE x", "task_failure"]),
        ("FAILURE", WorkerLostError("gone"), ["task_failure"]),
        ("RETRY", WorkerLostError("gone"), ["on_retry x (1,)", "task_retry"]),
        ("RETRY", Retry("cancelled"), ["on_retry x (1,)", "task_retry"]),
        ("REVOKED", WorkerLostError("gone"), []),
    ],
)
def test_what_is_told(state: str, error: Exception, expected: list[str]) -> None:
    app = App("told", broker="memory://", set_as_current=False)
    told: list[str] = []

    class Told(Task[..., Any]):
        def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            told.append(f"on_failure {self.request.id} {tuple(args)}")
            raise ValueError("a hook that fails keeps nobody from hearing")

        def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            told.append(f"on_retry {self.request.id} {tuple(args)}")

        def after_return(self, status: str, *rest: Any) -> None:
            told.append(f"after_return {status} {rest[1]}")

    @app.task(base=Told, name="told")
    def task(number: int) -> None:
        pass

    def on_signal(signal: Any, sender: Any, **named: Any) -> None:
        told.append(signal.name)
        assert sender.name == "told"
        assert named.get("exception") in (error, None)
        assert state != "RETRY" or isinstance(named["reason"], Retry)

    headers = {"task": "told", "id": "x"}
    request = Request(headers, (1,), {}, {}, {}, {}, "w@test", called_directly=False)
    verdict = Verdict("x", state, error, True, headers, b"", None, None, {}, {})
    for signal in (signals.task_failure, signals.task_retry):
        signal.connect(on_signal)
    try:
        tell(app, verdict, request)
    finally:
        for signal in (signals.task_failure, signals.task_retry):
            signal.disconnect(on_signal)
    assert told == expected
