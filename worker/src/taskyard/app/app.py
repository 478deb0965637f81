"""App: settings, the registry of tasks, and the ways to send them."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taskyard import shared
from taskyard.app.configuring import Configuring
from taskyard.app.connecting import Connecting
from taskyard.app.registering import Registering, resolve
from taskyard.app.sending import Sending
from taskyard.client.producer import Producer
from taskyard.client.router import Router
from taskyard.context import current_task, current_worker_task
from taskyard.message.identity import new_id
from taskyard.registry import Registry
from taskyard.signals import Signal

if TYPE_CHECKING:
    from types import ModuleType

    from taskyard.app.loading import Loader
    from taskyard.control import Control
    from taskyard.events import Events
    from taskyard.result.backend import Backend
    from taskyard.task import Task


class App(Configuring, Registering, Sending, Connecting):
    """A Celery application by another name: `app = App("shop", broker="redis://...")`.

    Keywords that are not named here are settings.
    """

    #: Classes (or their import paths) that a subclass may replace.
    backend_cls: Any = None
    amqp_cls: Any = None
    loader_cls: Any = None
    log_cls: Any = None
    events_cls: Any = None
    control_cls: Any = None
    registry_cls: Any = Registry
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

    def close(self) -> None:
        """Close connections, and take no more part in shared tasks."""
        for name in ("producer", "confirmed_producer"):
            producer = self.__dict__.pop(name, None)
            if producer is not None:
                producer.close()
        if self._pool is not None:
            self._pool.force_close_all()
            self._pool = None
        shared._deregister_app(self)

    def __enter__(self) -> App:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- parts
    @cached_property
    def router(self) -> Router:
        """Where tasks go."""
        return Router(self.conf)

    @cached_property
    def producer(self) -> Producer:
        """What sends messages to the broker."""
        return Producer(self.conf)

    @cached_property
    def confirmed_producer(self) -> Producer:
        """What sends messages that replace one about to be acknowledged."""
        return Producer(self.conf, confirm=True)

    @cached_property
    def backend(self) -> Backend:
        """The result store."""
        from taskyard.result.opening import open_backend

        own = resolve(self.backend_cls)
        if own is None and callable(self.conf.result_backend):
            own = self.conf.result_backend
        return open_backend(self, own)

    @cached_property
    def control(self) -> Control:
        """Remote control of the workers."""
        if self.control_cls is not None:
            made: Control = resolve(self.control_cls)(app=self)
            return made
        from taskyard.control import Control

        return Control(self)

    @cached_property
    def events(self) -> Events:
        """Receiving and sending events."""
        if self.events_cls is not None:
            made: Events = resolve(self.events_cls)(app=self)
            return made
        from taskyard.events import Events

        return Events(self)

    @cached_property
    def clock(self) -> Any:
        """The logical clock that events and remote control carry."""
        from kombu.clocks import LamportClock

        return LamportClock()

    @cached_property
    def loader(self) -> Loader:
        """What imports modules with tasks."""
        if self.loader_cls is not None and not isinstance(self.loader_cls, str):
            made: Loader = self.loader_cls(app=self)
            return made
        from taskyard.app.loading import Loader

        return Loader(self)

    @cached_property
    def log(self) -> Any:
        """Logging of the worker and of tasks."""
        if self.log_cls is not None:
            return resolve(self.log_cls)(app=self)
        from taskyard.app.loading import Logs

        return Logs(self)

    @cached_property
    def canvas(self) -> ModuleType:
        """chain, group, chord and the like."""
        from taskyard import canvas

        return canvas

    @property
    def _canvas(self) -> ModuleType:
        return self.canvas

    def signature(self, *args: Any, **kwargs: Any) -> Any:
        """A signature of this app's."""
        from taskyard.canvas import signature

        return signature(*args, **{**kwargs, "app": self})

    # -- results
    def _result_class(self, name: str) -> Any:
        from taskyard import result

        base = getattr(result, name)

        def reduce(instance: Any) -> Any:
            # The class exists in this process only: the other side makes one for its current app.
            return make_of_current, (name, base.__reduce__(instance)[1])

        return type(name, (base,), {"_app": self, "__module__": base.__module__, "__reduce__": reduce})

    @cached_property
    def AsyncResult(self) -> Any:  # noqa: N802  Celery's name
        """The result of a task of this app by its id."""
        return self._result_class("AsyncResult")

    @cached_property
    def GroupResult(self) -> Any:  # noqa: N802  Celery's name
        """The results of a group of this app."""
        return self._result_class("GroupResult")

    @cached_property
    def ResultSet(self) -> Any:  # noqa: N802  Celery's name
        """A set of results of this app."""
        return self._result_class("ResultSet")

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
        from taskyard.message.auth import setup_security

        setup_security(self.conf, *args, **kwargs)

    def bugreport(self) -> str:
        """What matters when an error is reported: versions, broker, settings without secrets."""
        from taskyard.app.bugreport import bugreport

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


def make_of_current(name: str, args: tuple[Any, ...]) -> Any:
    """A result of the current app's class of that name."""
    return getattr(shared.get_current_app(), name)(*args)


def _make_fallback() -> App:
    return App("default", set_as_current=False, fixups=[])


shared._makers.append(_make_fallback)


def _after_fork_in_child() -> None:
    for app in list(shared._apps):
        app._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
