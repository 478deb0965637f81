"""The parts of an app that are made when they are first asked for: client, result store, control, events."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taskyard import shared
from taskyard.app.registering import resolve
from taskyard.app.state import AppState
from taskyard.client.producer import Producer
from taskyard.client.router import Router

if TYPE_CHECKING:
    from types import ModuleType

    from taskyard.control import Control
    from taskyard.events import Events
    from taskyard.loaders.base import BaseLoader
    from taskyard.result.backend import Backend


class Parts(AppState):
    """Each may be of a class of the user's own."""

    #: Classes (or their import paths) that a subclass may replace.
    backend_cls: Any = None
    amqp_cls: Any = None
    loader_cls: Any = None
    log_cls: Any = None
    events_cls: Any = None
    control_cls: Any = None

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

        app: Any = self
        own = resolve(self.backend_cls)
        if own is None and callable(self.conf.result_backend):
            own = self.conf.result_backend
        return open_backend(app, own)

    @cached_property
    def control(self) -> Control:
        """Remote control of the workers."""
        app: Any = self
        if self.control_cls is not None:
            made: Control = resolve(self.control_cls)(app=self)
            return made
        from taskyard.control import Control

        return Control(app)

    @cached_property
    def events(self) -> Events:
        """Receiving and sending events."""
        app: Any = self
        if self.events_cls is not None:
            made: Events = resolve(self.events_cls)(app=self)
            return made
        from taskyard.events import Events

        return Events(app)

    @cached_property
    def clock(self) -> Any:
        """The logical clock that events and remote control carry."""
        from kombu.clocks import LamportClock

        return LamportClock()

    @cached_property
    def loader(self) -> BaseLoader:
        """What finds the configuration and imports modules with tasks."""
        from taskyard.loaders import get_loader_cls

        kind = get_loader_cls(self.loader_cls or os.environ.get("CELERY_LOADER") or "app")
        made: BaseLoader = kind(app=self)
        return made

    @cached_property
    def log(self) -> Any:
        """Logging of the worker and of tasks."""
        app: Any = self
        if self.log_cls is not None:
            return resolve(self.log_cls)(app=self)
        from taskyard.app.logs import Logging

        return Logging(app)

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


def make_of_current(name: str, args: tuple[Any, ...]) -> Any:
    """A result of the current app's class of that name."""
    return getattr(shared.get_current_app(), name)(*args)
