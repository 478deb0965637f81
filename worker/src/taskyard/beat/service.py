"""Service: runs a scheduler until it is stopped."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from functools import cached_property, partial
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard import signals
from taskyard.beat.persistent import PersistentScheduler
from taskyard.beat.remote import BeatPidbox
from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from taskyard.app import App

#: Entry points by which packages give their schedulers short names; the first are those made for Celery.
_ENTRY_POINTS = ("celery.beat_schedulers", "taskyard.beat_schedulers")


class Service:
    """A scheduler's process, or thread."""

    scheduler_cls: Any = PersistentScheduler

    def __init__(
        self,
        app: App,
        max_interval: float | None = None,
        schedule_filename: str | None = None,
        scheduler_cls: Any = None,
        remote_control: bool | None = None,
        hostname: str | None = None,
    ) -> None:
        """`scheduler_cls` is a class, its path, or the short name that a package has given it."""
        conf = app.conf
        self.app = app
        self.max_interval = max_interval or conf.beat_max_loop_interval
        self.schedule_filename = schedule_filename or conf.beat_schedule_filename
        self.scheduler_cls = scheduler_cls or self.scheduler_cls
        self.remote_control = conf.beat_enable_remote_control if remote_control is None else remote_control
        self.hostname = hostname
        self._pidbox: BeatPidbox | None = None
        self._last_tick: float | None = None
        # Not an Event: a signal's handler that sets one may wait for a lock of the code it interrupted.
        self._heard, self._bell = socket.socketpair()
        self._bell.setblocking(False)
        self._ended = Event()

    def get_scheduler(self, lazy: bool = False) -> Any:
        """A scheduler; a `lazy` one has no entries."""
        return find_scheduler(self.scheduler_cls)(
            app=self.app,
            schedule_filename=self.schedule_filename,
            max_interval=self.max_interval,
            lazy=lazy,
        )

    @cached_property
    def scheduler(self) -> Any:
        """The one that runs."""
        return self.get_scheduler()

    def start(self, embedded_process: bool = False) -> None:
        """Tick until `stop`; `embedded_process` in a process of a worker's (-B)."""
        scheduler = self.scheduler
        if signals.beat_init:
            signals.beat_init.send(sender=self)
        if embedded_process and signals.beat_embedded_init:
            signals.beat_embedded_init.send(sender=self)
        if self.remote_control:
            self._pidbox = BeatPidbox(self)
            self._pidbox.start()
        # A scheduler whose first tick never ends is silent, too.
        self._last_tick = monotonic()
        try:
            while not self._stopped_within(self._tick()):
                pass
        finally:
            try:
                scheduler.close()
            finally:
                if self._pidbox is not None:
                    self._pidbox.stop()
                self._ended.set()

    def _tick(self) -> float:
        pause: float = self.scheduler.tick()
        self._last_tick = monotonic()
        if pause and pause > 0 and self.scheduler.should_sync():
            self.scheduler._do_sync()
        return max(pause or 0.0, 0.0)

    def _stopped_within(self, seconds: float) -> bool:
        return bool(select.select([self._heard], [], [], seconds)[0])

    def tick_age(self) -> float | None:
        """Seconds since the last tick ended; None before the start."""
        return None if self._last_tick is None else monotonic() - self._last_tick

    def sync(self) -> None:
        """Write down what must outlive the process."""
        self.scheduler.sync()

    def stop(self, wait: bool = False) -> None:
        """End after the current tick; callable from a signal handler. `wait` until it has ended."""
        self._bell.send(b"!")
        if wait:
            self._ended.wait()


def service_maker(app: App, scheduler: str | None = None, **options: Any) -> Callable[[], Service]:
    """What makes the service of the scheduler that is named, or of the one in the settings;
    ImproperlyConfigured if there is none of that name.
    """
    name = scheduler or app.conf.beat_scheduler
    try:
        found = find_scheduler(name)
    except (ImportError, AttributeError) as error:
        raise ImproperlyConfigured(f"the scheduler {name} cannot be found: {error}") from error
    return partial(Service, app, scheduler_cls=found, **options)


def find_scheduler(name: Any) -> Any:
    """The scheduler class of that path or short name; a class is itself."""
    from taskyard.app.registering import resolve

    if name == "shared":
        name = "taskyard.beat.shared:SharedScheduler"
    if isinstance(name, str) and not {".", ":"} & set(name):
        from importlib.metadata import entry_points

        for group in _ENTRY_POINTS:
            for point in entry_points(group=group, name=name):
                return point.load()
    return resolve(name)
