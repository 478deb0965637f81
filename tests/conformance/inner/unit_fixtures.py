"""What Celery's unit tests expect of their conftest, made of public parts only.

The suite's own conftest patches the inside of the worker and of the pools; the tests that are run here need
only the app, its settings, and a few conveniences.
"""

from __future__ import annotations

import builtins
import inspect
import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module, reload
from typing import Any
from unittest.mock import MagicMock, Mock, patch

import pytest
from kombu import Queue

mocks = import_module("celery.contrib.testing.mocks")
testing_app = import_module("celery.contrib.testing.app")
sys.modules["t.unit.conftest"] = sys.modules[__name__]


def pytest_configure(config: pytest.Config) -> None:
    # Tests look at the default app: nothing may hang on one that they have not made.
    import_module("celery._state").set_default_app(testing_app.Trap())


@pytest.fixture(scope="session")
def celery_config() -> dict[str, Any]:
    return {
        "broker_url": "memory://",
        "broker_transport_options": {"polling_interval": 0.1},
        "result_backend": "cache+memory://",
        "task_default_queue": "testcelery",
        "task_default_exchange": "testcelery",
        "task_default_routing_key": "testcelery",
        "task_queues": (Queue("testcelery", routing_key="testcelery"),),
        "accept_content": ("json", "pickle"),
    }


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    return True


@pytest.fixture
def app(celery_app: Any) -> Any:
    return celery_app


@contextmanager
def assert_signal_called(signal: Any, **expected: Any) -> Iterator[Mock]:
    handler = Mock()

    def on_call(**named: Any) -> Any:
        return handler(**named)

    signal.connect(on_call)
    try:
        yield handler
    finally:
        signal.disconnect(on_call)
    handler.assert_called_with(signal=signal, **expected)


class Patching:
    """monkeypatch.setattr with a mock as the usual value."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
        self.monkeypatch = monkeypatch
        self.request = request

    def __getattr__(self, name: str) -> Any:
        return getattr(self.monkeypatch, name)

    def __call__(self, path: str, value: Any = None, name: str | None = None, new: Any = MagicMock) -> Any:
        value = new(name=name or path.rpartition(".")[2]) if value is None else value
        self.monkeypatch.setattr(path, value)
        return value

    def setattr(self, target: Any, name: Any = None, value: Any = None) -> Any:
        return self(target, name if value is None else value, name=None if value is None else name)

    def setitem(self, mapping: Any, name: str, value: Any = None, new: Any = MagicMock) -> Any:
        value = new(name=name) if value is None else value
        self.monkeypatch.setitem(mapping, name, value)
        return value

    def object(self, target: Any, attribute: str, *arguments: Any, **options: Any) -> Any:
        patcher = patch.object(target, attribute, *arguments, **options)
        self.request.addfinalizer(patcher.stop)
        return patcher.start()


@pytest.fixture
def patching(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Patching:
    return Patching(monkeypatch, request)


@pytest.fixture(autouse=True)
def joining_never_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("celery.result", "celery._state"):
        module = import_module(name)
        if hasattr(module, "task_join_will_block"):
            # Tests put the real one back for a while under this name.
            monkeypatch.setattr(
                module, "orig_task_join_will_block", module.task_join_will_block, raising=False
            )
            monkeypatch.setattr(module, "task_join_will_block", lambda: False)


@pytest.fixture(autouse=True)
def names_that_tests_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    # Tests of send_task put a function in the place of the first, on whose answer nothing depends here;
    # tests of retry change the standard module by way of the second.
    base, task = import_module("celery.app.base"), import_module("celery.app.task")
    monkeypatch.setattr(base, "detect_quorum_queues", lambda *_: (False, ""), raising=False)
    monkeypatch.setattr(task, "inspect", inspect, raising=False)


@pytest.fixture(autouse=True)
def shortcuts_of_test_classes(
    request: pytest.FixtureRequest, app: Any, patching: Patching, celery_config: dict[str, Any]
) -> Iterator[None]:
    instance: Any = request.instance
    if instance is None:
        yield
        return

    @app.task  # type: ignore[untyped-decorator]
    def add(x: Any, y: Any) -> Any:
        return x + y

    instance.app = app
    instance.Celery = testing_app.TestApp
    instance.assert_signal_called = assert_signal_called
    instance.task_message_from_sig = mocks.task_message_from_sig
    instance.TaskMessage = mocks.TaskMessage
    instance.TaskMessage1 = getattr(mocks, "TaskMessage1", None)
    instance.CELERY_TEST_CONFIG = celery_config
    instance.add = add
    instance.patching = patching
    yield
    instance.app = None


@pytest.fixture
def sleepdeprived(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = request.node.get_closest_marker("sleepdeprived_patched_module")
    monkeypatch.setattr(marker.args[0], "sleep", lambda *_: None)


@pytest.fixture
def mask_modules(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    masked = request.node.get_closest_marker("masked_modules").args
    real = builtins.__import__

    def guarded(name: str, *arguments: Any, **options: Any) -> Any:
        if name in masked:
            raise ImportError(f"No module named {name}")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", guarded)


@pytest.fixture
def environ(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    name, value = request.node.get_closest_marker("patched_environ").args
    monkeypatch.setenv(name, value)


@pytest.fixture
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in request.node.get_closest_marker("patched_module").args:
        monkeypatch.setitem(sys.modules, name, MagicMock(name=name))


def get_logger_handlers(logger: logging.Logger) -> list[logging.Handler]:
    return [each for each in logger.handlers if not isinstance(each, logging.NullHandler)]


@contextmanager
def restore_logging_context_manager() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("", "taskyard", "taskyard.task", "celery.task")]
    before = [(each.handlers[:], each.level, each.propagate) for each in loggers]
    streams = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for logger, state in zip(loggers, before, strict=True):
            logger.handlers, logger.level, logger.propagate = state


@pytest.fixture
def restore_logging() -> Iterator[None]:
    with restore_logging_context_manager():
        yield


@contextmanager
def wrap_logger(logger: logging.Logger, loglevel: int = logging.ERROR) -> Iterator[io.StringIO]:
    text, before = io.StringIO(), logger.handlers
    logger.handlers = [logging.StreamHandler(text)]
    try:
        yield text
    finally:
        logger.handlers = before


@contextmanager
def stdouts() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "stdout", out),
        patch.object(sys, "stderr", err),
        patch.object(sys, "__stdout__", out),
        patch.object(sys, "__stderr__", err),
    ):
        yield out, err


@contextmanager
def reset_modules(*names: str) -> Iterator[None]:
    """Import modules anew for a while."""
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    try:
        for name in names:
            reload(import_module(name))
        yield
    finally:
        sys.modules.update(before)


@contextmanager
def open(side_effect: Any = None) -> Iterator[Any]:
    """Put a text in the place of every file that is opened, or fail."""
    with patch("builtins.open") as opened:
        context = opened.return_value = MagicMock()
        context.__exit__.return_value = None
        content = context.__enter__.return_value = import_module("celery.utils.text").WhateverIO()
        context.__enter__.side_effect = side_effect
        yield content


class MockCallbacks:
    """A mock that does what the methods of its class do, and counts their calls."""

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        made = Mock(name=cls.__name__)
        cls.__init__(made, *arguments, **options)
        for name, value in vars(cls).items():
            if name in ("__dict__", "__weakref__", "__new__", "__init__"):
                continue
            if inspect.isfunction(value):
                getattr(made, name).side_effect = partial(value, made)
            else:
                setattr(made, name, value)
        return made
