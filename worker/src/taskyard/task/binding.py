"""Options of tasks: what is sent with a call, and how a class takes the others from its app's settings."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskyard.app import App

#: Attributes that `apply_async` takes as options where the call says nothing.
SENT_OPTIONS = (
    "queue",
    "routing_key",
    "exchange",
    "priority",
    "expires",
    "serializer",
    "delivery_mode",
    "compression",
    "time_limit",
    "soft_time_limit",
    "immediate",
    "mandatory",
)


#: Option -> setting that holds where a task has none.
FROM_CONFIG = (
    ("serializer", "task_serializer"),
    ("rate_limit", "task_default_rate_limit"),
    ("priority", "task_default_priority"),
    ("time_limit", "task_time_limit"),
    ("soft_time_limit", "task_soft_time_limit"),
    ("track_started", "task_track_started"),
    ("acks_late", "task_acks_late"),
    ("acks_on_failure_or_timeout", "task_acks_on_failure_or_timeout"),
    ("acks_on_failure", "task_acks_on_failure"),
    ("acks_on_timeout", "task_acks_on_timeout"),
    ("reject_on_worker_lost", "task_reject_on_worker_lost"),
    ("retry_on_worker_lost", "task_retry_on_worker_lost"),
    ("ignore_result", "task_ignore_result"),
    ("store_eager_result", "task_store_eager_result"),
    ("store_errors_even_if_ignored", "task_store_errors_even_if_ignored"),
)


#: The same for options of which None is a value too; the last is what holds without an app.
FROM_CONFIG_UNLESS_SET = (
    ("max_retries", "task_max_retries", 3),
    ("default_retry_delay", "task_default_retry_delay", 180),
)


class FromConfig:
    """An option that is the app's setting where the task has none; `bind` puts the value in its place."""

    def __init__(self, setting: str, without_app: Any = None) -> None:
        self._setting = setting
        self._without_app = without_app

    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        app = owner._app
        return self._without_app if app is None else app.conf[self._setting]


class Binding:
    """Mixed into Task."""

    @classmethod
    def bind(cls: Any, app: App) -> App:
        """Belong to the app: take its settings, and its annotations."""
        was_bound = cls._bound_class is cls
        cls._bound_class, cls._app, cls._exec_options = cls, app, None
        conf = app.conf
        if cls.typing is None:
            cls.typing = app.strict_typing
        for name, setting in cls.from_config:
            value = getattr(cls, name, None)
            if value is None or isinstance(inspect.getattr_static(cls, name, None), FromConfig):
                setattr(cls, name, conf[setting])
        for name, setting, _ in FROM_CONFIG_UNLESS_SET:
            if isinstance(inspect.getattr_static(cls, name), FromConfig):
                setattr(cls, name, conf[setting])
        both = cls.acks_on_failure_or_timeout
        for half in ("acks_on_failure", "acks_on_timeout"):
            if getattr(cls, half) is None:
                setattr(cls, half, True if both is None else both)
        if not was_bound and conf.task_annotations:
            cls.annotate()
        cls.on_bound(app)
        return app

    @classmethod
    def on_bound(cls, app: App) -> None:
        """Hook: the class belongs to the app now."""

    @classmethod
    def annotate(cls: Any) -> None:
        """Take what task_annotations says: attributes, and functions around methods ("@run")."""
        from taskyard.annotations import resolve_all

        for attributes in resolve_all(cls._app.annotations, cls):
            for name, value in attributes.items():
                if name.startswith("@"):
                    cls.add_around(name[1:], value)
                else:
                    setattr(cls, name, value)

    @classmethod
    def add_around(cls, attr: str, around: Callable[[Any], Any]) -> None:
        """Put a function around a method; a second time it takes the first one's place."""
        free = isinstance(inspect.getattr_static(cls, attr), staticmethod)
        original = getattr(cls, attr)
        original = getattr(original, "__wrapped__", original)
        method = around(original)
        method.__wrapped__ = original
        setattr(cls, attr, staticmethod(method) if free else method)

    @property
    def backend(self: Any) -> Any:
        """Where its results are kept: the app's store, unless the task has one (or a URL of one)."""
        own = self._backend
        if own is None:
            return self.app.backend
        if isinstance(own, (str, type)):
            from taskyard.result.opening import open_backend

            own = self._backend = open_backend(self.app, own)
        return own

    @backend.setter
    def backend(self: Any, value: Any) -> None:
        self._backend = value
