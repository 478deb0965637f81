"""A database that fails for a moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from taskyard import App
from taskyard.errors import BackendGetMetaError, BackendStoreError
from taskyard.result.states import SUCCESS

#: fail(moment, times): lets so many commits, or statements, be lost; the list has a line for each attempt.
Fail = Callable[[str, int], list[str]]


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(
        "r",
        broker="memory://",
        backend=f"db+sqlite:///{tmp_path}/results.db",
        result_backend_max_retries=2,
        result_backend_base_sleep_between_retries_ms=1,
    )


@pytest.fixture
def fail(app: App) -> Fail:
    backend: Any = app.backend
    backend.store_result("first", 1, SUCCESS)

    def fail(moment: str, times: int) -> list[str]:
        attempts: list[str] = []

        def lose(*args: Any) -> None:
            attempts.append(moment)
            if len(attempts) <= times:
                raise OperationalError("lost", {}, Exception())

        event.listen(backend.engine, moment, lose)
        return attempts

    return fail


def test_a_result_is_stored_at_the_next_attempt(app: App, fail: Fail) -> None:
    attempts = fail("commit", 1)
    app.backend.store_result("1", {"foo": "bar"}, SUCCESS)
    assert len(attempts) > 1
    assert app.AsyncResult("1").get(timeout=1) == {"foo": "bar"}


def test_it_is_given_up_after_so_many(app: App, fail: Fail) -> None:
    attempts = fail("commit", 100)
    with pytest.raises(BackendStoreError):
        app.backend.store_result("1", 1, SUCCESS)
    assert len(attempts) == 3


def test_a_result_is_read_at_the_next_attempt(app: App, fail: Fail) -> None:
    fail("before_cursor_execute", 1)
    assert app.backend.get_task_meta("first", cache=False)["result"] == 1
    fail("before_cursor_execute", 100)
    with pytest.raises(BackendGetMetaError):
        app.backend.get_task_meta("first", cache=False)
