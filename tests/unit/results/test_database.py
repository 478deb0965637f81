"""A database that fails for a moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, update
from sqlalchemy.exc import OperationalError

from taskyard import App
from taskyard.errors import BackendGetMetaError, BackendStoreError, ImproperlyConfigured
from taskyard.result.backends.database import DatabaseBackend
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


def test_attempts_are_left_alone_where_the_settings_say_so(tmp_path: Path) -> None:
    url = f"db+sqlite:///{tmp_path}/other.db"
    usual: Any = App("r", broker="memory://", backend=url).backend
    assert (usual.always_retry, usual.max_retries) == (True, 3)
    settings: dict[str, Any] = {"result_backend_always_retry": False, "result_backend_max_retries": 0}
    told: Any = App("r", broker="memory://", backend=url, **settings).backend
    assert (told.always_retry, told.max_retries) == (False, 0)


def test_a_store_is_made_from_a_url_and_options_of_ones_own(app: App, tmp_path: Path) -> None:
    seen: list[Any] = []
    own = DatabaseBackend(
        f"sqlite:///{tmp_path}/own.db",
        engine_options={"pool_recycle": 15},
        engine_callback=seen.append,
        app=app,
    )
    own.store_result("1", 1, SUCCESS)
    assert own.get_result("1") == 1
    assert seen == [own.engine]
    assert own.engine.pool._recycle == 15
    with pytest.raises(ImproperlyConfigured, match="42"):
        DatabaseBackend("sqlite://", engine_callback=42, app=app)


def test_stamps_that_cannot_be_read_do_not_hide_the_result(app: App) -> None:
    app.conf.result_extended = True
    backend: Any = app.backend
    backend.store_result("1", 5, SUCCESS)
    with backend.engine.begin() as connection:
        connection.execute(update(backend._tasks).values(stamps=b"[1, 2]"))
    assert backend.get_result("1") == 5
