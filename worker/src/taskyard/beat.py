"""The scheduler: sends the tasks of `beat_schedule` when they are due.  One process of it may run for an app.

When an entry ran last is kept in a file (`beat_schedule_filename`), so that a restart neither forgets a run
nor doubles one.  An entry that is new is first due after its interval, or at its next moment.
"""

from __future__ import annotations

import heapq
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from select import select
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard import signals
from taskyard.errors import ImproperlyConfigured
from taskyard.schedules import crontab, maybe_schedule

if TYPE_CHECKING:
    from taskyard.app import App

logger = logging.getLogger("taskyard.beat")

#: Longest pause between two looks at the schedule, seconds.
MAX_INTERVAL = 300.0


class BeatLazyFunc:
    """An argument of an entry that is a call, made each time the task is sent."""

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._call = func, args, kwargs

    def __call__(self) -> Any:
        """What the function returns."""
        function, args, kwargs = self._call
        return function(*args, **kwargs)


@dataclass(slots=True)
class ScheduleEntry:
    """A task with its schedule, and when it was sent last."""

    name: str
    task: str
    schedule: Any
    args: Any = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    last_run_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    total_run_count: int = 0

    def is_due(self) -> tuple[bool, float]:
        """Whether to send it now, and after how many seconds to ask again."""
        due, pause = self.schedule.is_due(self.last_run_at)
        return bool(due), float(pause)

    def next(self) -> ScheduleEntry:
        """The entry after it was sent."""
        return replace(self, last_run_at=datetime.now(UTC), total_run_count=self.total_run_count + 1)


class Scheduler:
    """Keeps the entries and sends what is due; this one remembers nothing beyond its process."""

    def __init__(self, app: App, *, max_interval: float | None = None) -> None:
        self.app = app
        self.max_interval = max_interval or app.conf.beat_max_loop_interval or MAX_INTERVAL
        self.schedule: dict[str, ScheduleEntry] = {}
        self.setup_schedule()
        self._heap = [(monotonic(), name) for name in sorted(self.schedule)]

    def setup_schedule(self) -> None:
        """Read the entries from the settings."""
        self.app.finalize(auto=True)
        entries = dict(self.app.conf.beat_schedule)
        if self.app.conf.result_expires and not getattr(self.app.backend, "supports_autoexpire", True):
            cleanup = {"task": "celery.backend_cleanup", "schedule": crontab("0", "4", "*")}
            entries.setdefault("celery.backend_cleanup", cleanup)
        for name, entry in entries.items():
            self.schedule[name] = self._entry(name, entry)

    def _entry(self, name: str, given: Mapping[str, Any]) -> ScheduleEntry:
        schedule = maybe_schedule(given["schedule"], given.get("relative", False), app=self.app)
        parts = {each: given[each] for each in ("args", "kwargs", "options") if given.get(each)}
        return ScheduleEntry(name, given["task"], schedule, **parts)

    def tick(self) -> float:
        """Send what is due; seconds until something may be due again."""
        while self._heap and self._heap[0][0] <= monotonic():
            _, name = self._heap[0]
            entry = self.schedule[name]
            due, pause = entry.is_due()
            if due:
                self.schedule[name] = entry.next()
                self.apply_entry(entry)
            heapq.heapreplace(self._heap, (monotonic() + min(pause, self.max_interval), name))
        left = self._heap[0][0] - monotonic() if self._heap else self.max_interval
        return max(0.0, min(left, self.max_interval))

    def apply_entry(self, entry: ScheduleEntry) -> None:
        """Send an entry's task; a failure is logged, and the entry's turn is over."""
        logger.info("Scheduler: Sending due task %s (%s)", entry.name, entry.task)
        try:
            result = self.apply_async(entry)
        except Exception:
            logger.exception("Periodic task %s could not be sent", entry.name)
        else:
            logger.debug("%s sent. id->%s", entry.task, getattr(result, "id", result))

    def apply_async(self, entry: ScheduleEntry) -> Any:
        """Send an entry's task."""
        args = [_called(each) for each in entry.args]
        kwargs = {name: _called(each) for name, each in entry.kwargs.items()}
        task = self.app.tasks.get(entry.task)
        if task is not None:
            return task.apply_async(args, kwargs, **entry.options)
        return self.app.send_task(entry.task, args, kwargs, **entry.options)

    def sync(self) -> None:
        """Keep what must outlive this process."""

    def close(self) -> None:
        """Sync for the last time."""
        self.sync()


class PersistentScheduler(Scheduler):
    """Keeps in a JSON file when each entry was sent last."""

    def __init__(self, app: App, *, filename: str | None = None, max_interval: float | None = None) -> None:
        self._path = Path(filename or f"{app.conf.beat_schedule_filename}.json")
        self._written = ""
        super().__init__(app, max_interval=max_interval)

    def setup_schedule(self) -> None:
        """The entries, with their pasts."""
        super().setup_schedule()
        for name, last, count in self._read():
            if name in self.schedule:
                entry = self.schedule[name]
                entry.last_run_at, entry.total_run_count = last, count

    def _read(self) -> Iterator[tuple[str, datetime, int]]:
        try:
            known = json.loads(self._path.read_text())
            for name, (last, count) in known.items():
                yield name, datetime.fromisoformat(last), int(count)
        except FileNotFoundError:
            return
        except (ValueError, TypeError, AttributeError) as error:
            logger.error("%s is no schedule of this scheduler (%s): it is made anew", self._path, error)

    def apply_entry(self, entry: ScheduleEntry) -> None:
        """Written down before it is sent: a crash in between skips a run, and never doubles one."""
        self.sync()
        super().apply_entry(entry)

    def sync(self) -> None:
        """Write the file, in one step."""
        entries = self.schedule.items()
        pasts = {name: [each.last_run_at.isoformat(), each.total_run_count] for name, each in entries}
        text = json.dumps(pasts)
        if text != self._written:
            aside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            aside.write_text(text)
            aside.replace(self._path)
            self._written = text


class Service:
    """Runs a scheduler until it is stopped."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        # Not an Event: a signal's handler that sets one may wait for a lock of the code it interrupted.
        self._heard, self._bell = os.pipe()

    def start(self, embedded: bool = False) -> None:
        """Tick until `stop`; `embedded` in the process of a worker (-B)."""
        if signals.beat_init:
            signals.beat_init.send(sender=self)
        if embedded and signals.beat_embedded_init:
            signals.beat_embedded_init.send(sender=self)
        self.scheduler.sync()
        try:
            while not select([self._heard], [], [], self.scheduler.tick())[0]:
                pass
        finally:
            self.scheduler.close()

    def stop(self) -> None:
        """End after the current tick; callable from a signal handler."""
        os.write(self._bell, b"!")


def scheduler_maker(
    app: App, kind: str | None = None, *, filename: str | None = None, max_interval: float | None = None
) -> Callable[[], Scheduler]:
    """What makes the scheduler that the arguments or the settings name; ImproperlyConfigured if there is
    none of that name.
    """
    from taskyard.app.registering import resolve

    name = kind or app.conf.beat_scheduler
    options: dict[str, Any] = {"max_interval": max_interval}
    if filename:
        options["filename"] = filename
    try:
        found = resolve(name)
    except (ImportError, AttributeError) as error:
        raise ImproperlyConfigured(f"the scheduler {name} cannot be found: {error}") from error
    return partial(found, app, **options)


def _called(value: Any) -> Any:
    return value() if isinstance(value, BeatLazyFunc) else value
