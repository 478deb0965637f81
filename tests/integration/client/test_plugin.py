"""The pytest plugin: an app and a worker in the test's own process."""

from __future__ import annotations

import gc
import os
from typing import Any

import pytest
import redis

from taskyard import App, current_app, shared_task
from taskyard.contrib.testing.app import TestApp, setup_default_app
from taskyard.contrib.testing.worker import start_worker
from taskyard.signals import task_received
from tests.harness.program import wait_until

pytest_plugins = ["taskyard.contrib.pytest", "pytester"]

PATIENT: dict[str, Any] = {"ping_task_timeout": 60.0, "shutdown_timeout": 60.0}


@shared_task
def add(x: int, y: int) -> int:
    return x + y


@shared_task
def fail() -> None:
    raise KeyError("nope")


@pytest.fixture(scope="session")
def celery_worker_parameters() -> dict[str, Any]:
    return PATIENT


def test_a_worker_runs_what_the_test_sends(celery_app: App, celery_worker: Any) -> None:
    assert current_app == celery_app
    assert add.delay(2, 3).get(timeout=60) == 5
    with pytest.raises(KeyError):
        fail.delay().get(timeout=60)


def test_a_test_hears_the_worker_s_signals_from_when_it_listens(celery_app: App, celery_worker: Any) -> None:
    requests: list[Any] = []

    @task_received.connect
    def received(request: Any, **kwargs: Any) -> None:
        requests.append(request)

    report = fail.si()
    call = add.s(1, 2).on_error(report).set(stamp=42, stamped_headers=["stamp"])
    assert call.delay().get(timeout=60) == 3
    (request,) = requests
    assert (request.type, request.args, request.stamps) == (add.name, [1, 2], {"stamp": 42})
    assert [errback["task"] for errback in request.errbacks] == [fail.name]
    assert (request.replaced_task_nesting, request.chord, request.group_index) == (0, None, None)
    assert (request.ignore_result, request.store_errors) == (False, True)
    assert (request.content_type, request.content_encoding) == ("application/json", "utf-8")
    assert request.body


def test_a_mark_changes_a_setting(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import pytest

        @pytest.mark.celery(task_always_eager=True)
        def test_eager(taskyard_app):
            add = taskyard_app.task(lambda x: x + 1, name="add")
            assert add.delay(1).get() == 2

        def test_not_eager(celery_app):
            assert celery_app.conf.task_always_eager is False
            assert celery_app.conf.broker_url == "memory://"
    """)
    result = pytester.runpytest_subprocess("-p", "taskyard.contrib.pytest", "--strict-markers")
    result.assert_outcomes(passed=2)


@pytest.mark.redis
def test_a_worker_with_processes_in_a_thread(redis_url: str) -> None:
    app = TestApp("block", broker=redis_url, backend=redis_url)

    @app.task(name="block.double")
    def double(x: int) -> tuple[int, int]:
        return 2 * x, os.getpid()

    with start_worker(app, pool="prefork", concurrency=2, **PATIENT) as worker:
        results = [double.delay(number) for number in range(10)]
        answers = [result.get(timeout=60) for result in results]
    assert [value for value, _ in answers] == [2 * number for number in range(10)]
    assert os.getpid() not in {pid for _, pid in answers}
    assert worker.exit_code == 0


@pytest.mark.redis
def test_nothing_of_a_test_s_worker_stays_connected(redis_url: str) -> None:
    store = redis.Redis.from_url(redis_url)
    others = len(store.client_list())
    apps = []
    for number in range(6):
        app = TestApp(f"block{number}", broker=redis_url, backend=redis_url)
        with setup_default_app(app), start_worker(app, **PATIENT):
            pass  # it has answered a ping
        apps.append(app)
    gc.collect()
    # At most the connections for sending that the last app keeps.
    wait_until(lambda: len(store.client_list()) <= others + 2, what="the connections to be closed")


def test_a_worker_that_cannot_start_says_so() -> None:
    config = {"broker_connection_retry_on_startup": False, "broker_connection_timeout": 1}
    app = TestApp("broken", broker="redis://127.0.0.1:1/0", config=config)
    with pytest.raises(RuntimeError, match="the worker"), start_worker(app, perform_ping_check=False):
        pass
