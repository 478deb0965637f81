"""An app whose results stay in this process."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from taskyard import App
from taskyard.result.backends import memory


@pytest.fixture(autouse=True)
def _empty_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SHARED", memory.Memory())


@pytest.fixture
def app() -> App:
    return App("results", broker="memory://", backend="memory://")


@pytest.fixture
def done(app: App) -> Any:
    """Store a success and give its result object."""

    def make(value: Any, **options: Any) -> Any:
        task_id = str(uuid4())
        app.backend.mark_as_done(task_id, value)
        return app.AsyncResult(task_id, **options)

    return make


@pytest.fixture
def failed(app: App) -> Any:
    """Store a failure and give its result object."""

    def make(error: BaseException, **options: Any) -> Any:
        task_id = str(uuid4())
        app.backend.mark_as_failure(task_id, error, traceback="Traceback")
        return app.AsyncResult(task_id, **options)

    return make
