"""TestApp: an app for tests, with broker and results in this process's memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from taskyard import shared
from taskyard.app import App

#: Settings of a test app that says nothing else.
DEFAULT_TEST_CONFIG: dict[str, Any] = {
    "worker_hijack_root_logger": False,
    "worker_log_color": False,
    "accept_content": {"json"},
    "enable_utc": True,
    "timezone": "UTC",
    "broker_url": "memory://",
    "result_backend": "cache+memory://",
    "broker_heartbeat": 0,
}


def TestApp(  # noqa: N802  Celery's name
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    enable_logging: bool = False,
    set_as_current: bool = False,
    log: Any = None,
    backend: Any = None,
    broker: Any = None,
    **options: Any,
) -> App:
    """An app with the settings above, then `config`; `options` are App's."""
    from taskyard.contrib.testing import tasks  # noqa: F401  registers ping with every app

    settings = {**DEFAULT_TEST_CONFIG, **(config or {})}
    for given, setting in ((broker, "broker_url"), (backend, "result_backend")):
        if given is not None:
            settings.pop(setting, None)
    app = App(
        name or "taskyard.tests", set_as_current=set_as_current, broker=broker, backend=backend, **options
    )
    app.add_defaults(settings)
    return app


vars(TestApp)["__test__"] = False  # no test of pytest's


class Trap:
    """In the place of the current app: using it is an error."""

    def __getattr__(self, name: str) -> NoReturn:
        if name in ("_is_coroutine", "__func__"):  # what unittest.mock looks for
            raise AttributeError(name)
        raise RuntimeError(f"Test depends on current_app (its {name!r})")


class _Trapped:
    def __init__(self, trap: Trap) -> None:
        self.current_app = trap


@contextmanager
def set_trap(app: App) -> Iterator[None]:
    """Make every use of the current app an error."""
    before, trap = shared._tls, Trap()
    shared.set_default_app(trap)
    shared._tls = _Trapped(trap)
    try:
        yield
    finally:
        shared._tls = before


@contextmanager
def setup_default_app(app: App, use_trap: bool = False) -> Iterator[None]:
    """What the block does to the current and default app, and to shared tasks, is undone at its end; the app
    is closed.
    """
    current, default = shared._tls.current_app, shared.default_app
    finalizers, apps = set(shared._on_app_finalizers), weakref.WeakSet(shared._apps)
    try:
        if use_trap:
            with set_trap(app):
                yield
        else:
            yield
    finally:
        shared.set_default_app(default)
        shared._tls.current_app = current
        if app is not current:
            app.close()
        shared._on_app_finalizers = finalizers
        shared._apps = apps
        app.__dict__.pop("backend", None)
