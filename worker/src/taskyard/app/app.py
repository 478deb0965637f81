"""App: settings, the registry of tasks, and the ways to send them."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from importlib import import_module
from types import GenericAlias
from typing import TYPE_CHECKING, Any

from taskyard import shared
from taskyard.app.configuring import Configuring
from taskyard.app.connecting import Connecting
from taskyard.app.parts import Parts
from taskyard.app.registering import Registering, resolve
from taskyard.app.sending import Sending
from taskyard.context import current_task, current_worker_task
from taskyard.message.identity import new_id
from taskyard.registry import Registry
from taskyard.signals import Signal

if TYPE_CHECKING:
    from taskyard.task import Task


class App(Parts, Configuring, Registering, Sending, Connecting):
    """A Celery application by another name: `app = App("shop", broker="redis://...")`.

    Keywords that are not named here are settings.
    """

    #: The class (or its import path) of the registry; those of the other parts are in `Parts`.
    registry_cls: Any = Registry
    #: `App[MyTask]` in annotations, as Celery's has it.
    __class_getitem__: Any = classmethod(GenericAlias)
    #: Set to False to keep unknown settings and wrong types, as Celery does.
    strict_settings: bool | None = None

    def __init__(
        self,
        main: str | None = None,
        loader: Any = None,
        backend: Any = None,
        amqp: Any = None,
        events: Any = None,
        log: Any = None,
        control: Any = None,
        set_as_current: bool = True,
        tasks: Any = None,
        broker: Any = None,
        include: Iterable[str] | None = None,
        changes: Mapping[str, Any] | None = None,
        config_source: Any = None,
        fixups: Any = None,
        task_cls: Any = None,
        autofinalize: bool = True,
        namespace: str | None = None,
        strict_typing: bool = True,
        config_source_silent: bool = False,
        strict_settings: bool | None = None,
        **settings: Any,
    ) -> None:
        self.main = main
        self.namespace = namespace
        self.autofinalize = autofinalize
        self.strict_typing = strict_typing
        self.set_as_current = set_as_current
        self.finalized = False
        self.steps: defaultdict[str, set[Any]] = defaultdict(set)
        self.user_options: defaultdict[str, set[Any]] = defaultdict(set)
        self._local = threading.local()
        self._finalizing = threading.RLock()
        self._config_source = config_source
        self._config_source_silent = config_source_silent
        self._pending_periodic = []
        if task_cls is not None:
            self.task_cls = task_cls
        self.events_cls, self.control_cls = events or self.events_cls, control or self.control_cls
        self.loader_cls, self.amqp_cls = loader or self.loader_cls, amqp or self.amqp_cls
        self.log_cls = log or self.log_cls
        registry = resolve(self.registry_cls)
        self._tasks = tasks if isinstance(tasks, Registry) else registry(tasks or {})
        if not hasattr(type(self), "on_configure"):
            self.on_configure = Signal("app.on_configure")
        self.on_after_configure = Signal("app.on_after_configure", {"source"})
        self.on_after_finalize = Signal("app.on_after_finalize")
        self.on_after_fork = Signal("app.on_after_fork")
        self.conf = self._make_conf()
        strict = self.strict_settings if strict_settings is None else strict_settings
        if strict is not None:
            self.conf.strict = strict
        self.conf.update(changes or {})
        own = {"broker_url": broker, "result_backend": backend, "include": include and list(include)}
        self.conf.update({name: value for name, value in {**own, **settings}.items() if value is not None})
        self._fixups = self._make_fixups(fixups)
        if set_as_current:
            self.set_current()
        if self.loader_cls not in (None, "app", "default"):
            from taskyard.loaders.base import connect_hooks

            connect_hooks(self)
        shared._register_app(self)
        self.on_init()

    def on_init(self) -> None:
        """Hook for subclasses: the app has been made."""

    def _make_fixups(self, fixups: Any) -> list[Any]:
        if fixups is None:
            fixups = (
                ["taskyard.contrib.django.fixup:fixup"] if os.environ.get("DJANGO_SETTINGS_MODULE") else []
            )
        made = [resolve(each)(self) for each in fixups]
        return [each for each in made if each is not None]

    # -- which app is the current one
    def set_current(self) -> None:
        """Make it the current app of this thread."""
        shared._set_current_app(self)

    def set_default(self) -> None:
        """Make it the app of all threads that have none of their own."""
        shared.set_default_app(self)

    def hang_up(self) -> None:
        """Close the connections for sending; the broker has all that was sent when this returns."""
        for name in ("producer", "confirmed_producer"):
            producer = self.__dict__.pop(name, None)
            if producer is not None:
                producer.close()

    def close(self) -> None:
        """Close connections, and take no more part in shared tasks."""
        self.hang_up()
        if self._pool is not None:
            self._pool.force_close_all()
            self._pool = None
        shared._deregister_app(self)

    def __enter__(self) -> App:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- identity
    @cached_property
    def oid(self) -> str:
        """This app in this process: the reply_to of what it sends, where threads do not matter."""
        return new_id()

    @property
    def thread_oid(self) -> str:
        """This app in this thread: the reply_to of what it sends."""
        try:
            oid: str = self._local.oid
        except AttributeError:
            oid = self._local.oid = new_id()
        return oid

    @property
    def current_task(self) -> Task[..., Any] | None:
        """The task that runs here."""
        return current_task()

    @property
    def current_worker_task(self) -> Task[..., Any] | None:
        """The task that a worker runs here, below direct calls."""
        return current_worker_task()

    # -- time
    @cached_property
    def timezone(self) -> tzinfo:
        """The zone that naive dates are in."""
        from taskyard.zones import zone_of

        return zone_of(self.conf.timezone, enable_utc=self.conf.enable_utc)

    def now(self) -> datetime:
        """The time in the app's zone."""
        return datetime.now(self.timezone)

    def uses_utc_timezone(self) -> bool:
        """Whether the app's zone is UTC."""
        return self.timezone is UTC

    # -- the rest of Celery's methods
    def either(self, default_key: str, *defaults: Any) -> Any:
        """The first value that is not None, else the setting."""
        return next((value for value in defaults if value is not None), self.conf.get(default_key))

    def setup_security(self, *args: Any, **kwargs: Any) -> None:
        """Accept signed messages only, and sign what is sent."""
        from taskyard.security import setup_security

        setup_security(*args, **{**kwargs, "app": self})

    def bugreport(self) -> str:
        """What matters when an error is reported: versions, broker, settings without secrets."""
        from taskyard.app.report import bugreport

        return bugreport(self)

    def start(self, argv: list[str] | None = None) -> int:
        """Run the command line with this app; returns the exit code."""
        from taskyard.app.loading import run_command_line

        return run_command_line(self, argv)

    def worker_main(self, argv: list[str] | None = None) -> int:
        """The same for the command `worker`."""
        arguments = list(argv) if argv is not None else None
        if arguments is not None and "worker" not in arguments:
            raise ValueError("worker_main needs the command worker in argv; app.start() runs the others")
        return self.start(arguments)

    @cached_property
    def Worker(self) -> Any:  # noqa: N802  Celery's name
        """A worker's class: `app.Worker(queues="a").start()` works until a signal or `stop()` ends it."""
        return self._embedded("worker", "Worker")

    @cached_property
    def WorkController(self) -> Any:  # noqa: N802  Celery's name
        """The same that leaves logging and signals to the program."""
        return self._embedded("worker", "WorkController")

    @cached_property
    def Beat(self) -> Any:  # noqa: N802  Celery's name
        """A scheduler's class: `app.Beat().run()` sends what is due until a signal ends it."""
        return self._embedded("beat", "Beat")

    def _embedded(self, module: str, name: str) -> Any:
        base = getattr(import_module(f"taskyard.apps.{module}"), name)
        return type(name, (base,), {"app": self, "__module__": base.__module__})

    def _after_fork(self) -> None:
        self._local = threading.local()
        self.__dict__.pop("oid", None)
        self._pool = None
        if self.on_after_fork:
            self.on_after_fork.send(sender=self)

    # -- as a value
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.main or '__main__'} at {id(self):#x}>"

    def __reduce__(self) -> Any:
        return remake, (type(self), self.__reduce_keys__())

    def __reduce_keys__(self) -> dict[str, Any]:
        """Arguments that make the same app elsewhere."""
        return {
            "main": self.main,
            "changes": self.conf.changes,
            "config_source": self._config_source,
            "config_source_silent": self._config_source_silent,
            "namespace": self.namespace,
            "task_cls": self.__dict__.get("task_cls"),
            "loader": self.loader_cls,
            "events": self.events_cls,
            "control": self.control_cls,
            "autofinalize": self.autofinalize,
            "strict_typing": self.strict_typing,
            "strict_settings": self.conf.__dict__.get("strict"),
        }


def remake(cls: type[App], keywords: dict[str, Any]) -> App:
    """An unpickled app; it does not become the current one."""
    return cls(**{**keywords, "set_as_current": False})


def _make_fallback() -> App:
    return App(
        "default", set_as_current=False, fixups=[], loader=os.environ.get("CELERY_LOADER") or "default"
    )


shared._makers.append(_make_fallback)


def _after_fork_in_child() -> None:
    for app in list(shared._apps):
        app._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
