"""Fixtures of pytest: an app in memory, and a worker in a thread of the test's process.

The names are Celery's, and the same with `taskyard_` for `celery_`.  Override `celery_config` (settings),
`celery_parameters` (App's arguments), `celery_worker_parameters` (start_worker's), `celery_worker_pool`,
`celery_includes` (modules with tasks) and `celery_class_tasks`; mark a test with
`@pytest.mark.celery(task_always_eager=True)` for settings of its own.  With NO_WORKER in the environment no
worker is started.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.contrib.testing.worker import TestWorkController


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks known."""
    for mark in ("celery", "taskyard"):
        config.addinivalue_line("markers", f"{mark}(**settings): settings of the test app for one test")


@contextmanager
def _app(
    request: Any, *, logs: bool, trap: bool, parameters: Mapping[str, Any], config: Any
) -> Iterator[App]:
    from taskyard.contrib.testing.app import TestApp, setup_default_app

    settings = dict(config)
    for name in ("taskyard", "celery"):
        mark = request.node.get_closest_marker(name)
        settings.update(mark.kwargs if mark else {})
    app = TestApp(set_as_current=False, enable_logging=logs, config=settings, **parameters)
    with setup_default_app(app, use_trap=trap):
        yield app


@contextmanager
def _worker(
    app: App, includes: Sequence[str], pool: Any, parameters: Mapping[str, Any]
) -> Iterator[TestWorkController | None]:
    from taskyard.contrib.testing.worker import start_worker

    for module in includes:
        app.loader.import_task_module(module)
    if os.environ.get("NO_WORKER"):
        yield None
        return
    with start_worker(app, pool=pool, **parameters) as worker:
        yield worker


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    """Whether using the current app is an error."""
    return False


@pytest.fixture(scope="session")
def celery_enable_logging() -> bool:
    """Whether the test app sets up logging."""
    return False


@pytest.fixture(scope="session")
def celery_includes() -> Sequence[str]:
    """Modules with tasks to import before the worker starts."""
    return ()


@pytest.fixture(scope="session")
def celery_worker_pool() -> str:
    """The worker's pool."""
    return "solo"


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    """Settings of the test app."""
    return {}


@pytest.fixture(scope="session")
def celery_parameters() -> Mapping[str, Any]:
    """Arguments of the test app."""
    return {}


@pytest.fixture(scope="session")
def celery_worker_parameters() -> Mapping[str, Any]:
    """Arguments of the test worker."""
    return {}


@pytest.fixture(scope="session")
def celery_class_tasks() -> Sequence[Any]:
    """Class-based tasks to register."""
    return []


@pytest.fixture(scope="session")
def celery_session_app(
    request: Any,
    celery_config: Any,
    celery_parameters: Any,
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[App]:
    """One app for the whole session, the current one."""
    with _app(
        request,
        logs=celery_enable_logging,
        trap=use_celery_app_trap,
        parameters=celery_parameters,
        config=celery_config,
    ) as app:
        if not use_celery_app_trap:
            app.set_default()
            app.set_current()
        yield app


@pytest.fixture(scope="session")
def celery_session_worker(
    celery_session_app: App,
    celery_includes: Sequence[str],
    celery_class_tasks: Sequence[Any],
    celery_worker_pool: Any,
    celery_worker_parameters: Any,
) -> Iterator[TestWorkController | None]:
    """One worker for the whole session."""
    for task in celery_class_tasks:
        celery_session_app.register_task(task)
    with _worker(celery_session_app, celery_includes, celery_worker_pool, celery_worker_parameters) as worker:
        yield worker


@pytest.fixture
def celery_app(
    request: Any,
    celery_config: Any,
    celery_parameters: Any,
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[App]:
    """An app for one test."""
    with _app(
        request,
        logs=celery_enable_logging,
        trap=use_celery_app_trap,
        parameters=celery_parameters,
        config=celery_config,
    ) as app:
        yield app


@pytest.fixture
def celery_worker(
    celery_app: App, celery_includes: Sequence[str], celery_worker_pool: Any, celery_worker_parameters: Any
) -> Iterator[TestWorkController | None]:
    """A worker for one test."""
    with _worker(celery_app, celery_includes, celery_worker_pool, celery_worker_parameters) as worker:
        yield worker


@pytest.fixture
def depends_on_current_app(celery_app: App) -> None:
    """Make the test's app the current one."""
    celery_app.set_current()


@pytest.fixture(scope="session")
def taskyard_session_app(celery_session_app: App) -> App:
    """The same as celery_session_app."""
    return celery_session_app


@pytest.fixture(scope="session")
def taskyard_session_worker(celery_session_worker: Any) -> Any:
    """The same as celery_session_worker."""
    return celery_session_worker


@pytest.fixture
def taskyard_app(celery_app: App) -> App:
    """The same as celery_app."""
    return celery_app


@pytest.fixture
def taskyard_worker(celery_worker: Any) -> Any:
    """The same as celery_worker."""
    return celery_worker
