"""Events: the stream of what happens to tasks and workers, on Celery's wire; `app.events`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.app import App

__all__ = (
    "Event",
    "EventDispatcher",
    "EventReceiver",
    "Events",
    "event_exchange",
    "get_exchange",
    "group_from",
)

#: Where the public names are; kombu is imported only when one of them is used.
_MODULES = {
    "Event": "event",
    "event_exchange": "event",
    "get_exchange": "event",
    "group_from": "event",
    "EventDispatcher": "dispatcher",
    "EventReceiver": "receiver",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"taskyard.events.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Events:
    """`app.events`: the classes for events, bound to the app."""

    def __init__(self, app: App) -> None:
        self.app = app

    def _bound(self, kind: type[Any]) -> Any:
        return type(kind.__name__, (kind,), {"app": self.app, "__module__": kind.__module__})

    @cached_property
    def Receiver(self) -> Any:  # noqa: N802  Celery's name
        """EventReceiver for this app."""
        from taskyard.events.receiver import EventReceiver

        return self._bound(EventReceiver)

    @cached_property
    def Dispatcher(self) -> Any:  # noqa: N802  Celery's name
        """EventDispatcher for this app."""
        from taskyard.events.dispatcher import EventDispatcher

        return self._bound(EventDispatcher)

    @cached_property
    def State(self) -> Any:  # noqa: N802  Celery's name
        """The state of a cluster."""
        from taskyard.events.state import State

        return State

    @contextmanager
    def default_dispatcher(
        self, hostname: str | None = None, enabled: bool = True, buffer_while_offline: bool = False
    ) -> Iterator[Any]:
        """A dispatcher on one of the app's connections for the time of the `with` block."""
        with (
            self.app.producer_or_acquire() as producer,
            self.Dispatcher(
                producer.connection, hostname, enabled, producer.channel, buffer_while_offline
            ) as dispatcher,
        ):
            yield dispatcher
