"""Scheduler: keeps the entries and sends what is due.

To keep entries elsewhere derive from it: `setup_schedule` fills `schedule`, `Entry` is what it holds,
`reserve` notes that an entry is about to be sent, `sync` writes down what must outlive the process.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
from collections.abc import Mapping
from copy import copy
from datetime import UTC
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from taskyard.beat.entry import ScheduleEntry, called
from taskyard.schedules import crontab

if TYPE_CHECKING:
    from taskyard.app import App

logger = logging.getLogger("taskyard.beat")

#: Longest pause between two looks at the schedule, seconds.
DEFAULT_MAX_INTERVAL = 300
#: All events of the heap have it; a scheduler of one's own may use others.
_PRIORITY = 5


class SchedulingError(Exception):
    """A periodic task could not be sent."""


class event_t(NamedTuple):  # noqa: N801  Celery's name
    """When to ask an entry whether it is due: seconds since the epoch, by the entry's own clock."""

    time: float
    priority: int
    entry: Any


class Scheduler:
    """The base of all; this one remembers nothing beyond its process."""

    Entry: Any = ScheduleEntry
    #: Longest pause between two looks at the schedule, seconds.
    max_interval: float = DEFAULT_MAX_INTERVAL
    #: Seconds, and tasks sent, after which `sync` is called.
    sync_every: float = 180
    sync_every_tasks: int | None = None
    #: Where the base class and its subclasses log.
    logger = logger

    _last_sync: float | None = None
    _tasks_since_sync = 0

    def __init__(
        self,
        app: App,
        schedule: Any = None,
        max_interval: float | None = None,
        Producer: Any = None,  # noqa: N803  Celery's name
        lazy: bool = False,
        sync_every_tasks: int | None = None,
        **kwargs: Any,
    ) -> None:
        """`lazy` leaves the schedule empty; further options are for subclasses."""
        conf = app.conf
        self.app = app
        self.data = schedule() if callable(schedule) else {} if schedule is None else schedule
        self.max_interval = max_interval or conf.beat_max_loop_interval or self.max_interval
        self.sync_every_tasks = conf.beat_sync_every if sync_every_tasks is None else sync_every_tasks
        self.Producer = Producer or app.amqp.Producer
        #: Events by time, or None before the first tick; they are made anew when the schedule has changed.
        self._heap: list[event_t] | None = None
        self.old_schedulers: dict[str, Any] | None = None
        if not lazy:
            app.finalize(auto=True)
            self.setup_schedule()

    # -- the entries
    def get_schedule(self) -> Any:
        """The entries by name."""
        return self.data

    def set_schedule(self, schedule: Any) -> None:
        """Take these entries."""
        self.data = schedule

    schedule: Any = property(get_schedule, set_schedule)

    def setup_schedule(self) -> None:
        """Read the entries from the settings."""
        self.merge_inplace(self.app.conf.beat_schedule)
        self.install_default_entries(self.schedule)

    def install_default_entries(self, data: Mapping[str, Any]) -> None:
        """Add what Taskyard needs itself: cleaning up results that do not expire of themselves."""
        if not self.app.conf.result_expires or getattr(self.app.backend, "supports_autoexpire", True):
            return
        name = "celery.backend_cleanup"
        if name not in data:
            entry = {"task": name, "schedule": crontab("0", "4", "*"), "options": {"expires": 12 * 3600}}
            self.update_from_dict({name: entry})

    def add(self, **fields: Any) -> Any:
        """Add an entry by the fields of its class; the entry."""
        entry = self.Entry(app=self.app, **fields)
        self.schedule[entry.name] = entry
        return entry

    def _maybe_entry(self, name: str, entry: Any) -> Any:
        if isinstance(entry, self.Entry):
            entry.app = self.app
            return entry
        return self.Entry(**{**entry, "name": name, "app": self.app})

    def update_from_dict(self, dict_: Mapping[str, Any]) -> None:
        """Add entries, or put them in the place of those of the same names."""
        self.schedule.update({name: self._maybe_entry(name, each) for name, each in dict_.items()})

    def merge_inplace(self, b: Mapping[str, Any]) -> None:
        """Have these entries and no others; one that is there already keeps its past."""
        schedule = self.schedule
        for name in set(schedule) - set(b):
            del schedule[name]
        for name, each in b.items():
            entry = self._maybe_entry(name, each)
            if name in schedule:
                schedule[name].update(entry)
            else:
                schedule[name] = entry

    def schedules_equal(self, old_schedules: Any, new_schedules: Any) -> bool:
        """Whether the entries are the same, but for their pasts."""
        if old_schedules is new_schedules:
            return True
        if old_schedules is None or new_schedules is None or set(old_schedules) != set(new_schedules):
            return False
        return all(
            each is new_schedules[name] or each == new_schedules[name] for name, each in old_schedules.items()
        )

    # -- when
    def is_due(self, entry: Any) -> tuple[bool, Any]:
        """Whether to send an entry now, and after how many seconds to ask again."""
        found: tuple[bool, Any] = entry.is_due()
        return found

    def _ask(self, entry: Any) -> tuple[bool, float]:
        try:
            due, pause = self.is_due(entry)
        except Exception:
            # One schedule that cannot tell its next run must not stop the others.
            logger.exception(
                "When %r is due cannot be told: it is asked again in %g s", entry.name, self.max_interval
            )
            return False, self.max_interval
        return bool(due), float(pause) if isinstance(pause, (int, float)) else self.max_interval

    def adjust(self, n: Any, drift: float = 0.0) -> Any:
        """The pause before an entry is asked again; a subclass may make it shorter or longer."""
        return n + drift if n and n > 0 else n

    def _when(self, entry: Any, next_time_to_run: Any) -> float:
        """That many seconds from now, by the entry's clock."""
        now = entry.default_now()
        if now.tzinfo is None:
            now = now.replace(tzinfo=UTC)
        return float(now.timestamp() + (self.adjust(next_time_to_run) or 0))

    def populate_heap(self) -> None:
        """Ask all entries when they are due."""
        self._heap = heap = []
        for entry in self.schedule.values():
            due, pause = self._ask(entry)
            heap.append(event_t(self._when(entry, 0 if due else pause), _PRIORITY, entry))
        heapq.heapify(heap)

    def tick(self) -> float:
        """Send one task if it is due; the seconds until the next call, 0 after each task."""
        if self._heap is None or not self.schedules_equal(self.old_schedulers, self.schedule):
            self.old_schedulers = copy(self.schedule)
            self.populate_heap()
        heap = self._heap
        if not heap:
            return self.max_interval
        event = heap[0]
        entry = event.entry
        left = event.time - self._when(entry, 0)
        if left > 0:
            return min(left, self.max_interval)
        due, pause = self._ask(entry)
        first = heap[0]
        if first is not event:  # asking has brought another one to the top: its turn is next
            return min(first.time - self._when(first.entry, 0), self.max_interval)
        if due:
            heapq.heappop(heap)
            sent = self.reserve(entry)
            if self.old_schedulers is not None and entry.name in self.old_schedulers:
                self.old_schedulers[entry.name] = sent  # not a change of the schedule
            self.apply_entry(entry, producer=None)
            heapq.heappush(heap, event_t(self._when(sent, pause), event.priority, sent))
            return 0
        heapq.heapreplace(heap, event_t(self._when(entry, pause), event.priority, entry))
        return 0 if heap[0].entry is not entry else min(self.adjust(pause), self.max_interval)

    # -- sending
    def reserve(self, entry: Any) -> Any:
        """Note that an entry is about to be sent; the entry as it is afterwards."""
        after = self.schedule[entry.name] = next(entry)
        return after

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send an entry's task; a failure is logged, and the entry's turn is over."""
        logger.info("Scheduler: Sending due task %s (%s)", entry.name, entry.task)
        try:
            result = self.apply_async(entry, producer=producer, advance=False)
        except Exception:
            logger.exception("Periodic task %s could not be sent", entry.name)
        else:
            logger.debug("%s sent. id->%s", entry.task, getattr(result, "id", result))

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Send an entry's task (and `reserve` it before, with `advance`); SchedulingError if it fails."""
        if advance:
            entry = self.reserve(entry)
        try:
            args = [called(each) for each in entry.args or ()]
            named = {name: called(each) for name, each in (entry.kwargs or {}).items()}
            options = dict(entry.options or {})
            options["headers"] = {**(options.get("headers") or {}), "celery_beat_task": True}
            task = self.app.tasks.get(entry.task)
            if task is not None:
                return task.apply_async(args, named, producer=producer, **options)
            return self.send_task(entry.task, args, named, producer=producer, **options)
        except Exception as error:
            raise SchedulingError(f"the periodic task {entry.name} could not be sent: {error}") from error
        finally:
            self._tasks_since_sync += 1
            if self.should_sync():
                self._do_sync()

    def send_task(self, *args: Any, **kwargs: Any) -> Any:
        """Send a task that this process does not know."""
        return self.app.send_task(*args, **kwargs)

    @cached_property
    def connection(self) -> Any:
        """A kombu connection for subclasses; what is sent here goes over the app's own."""
        return self.app.connection_for_write()

    @cached_property
    def producer(self) -> Any:
        """A kombu producer for subclasses, on `connection`."""
        connection = self.connection.ensure_connection(
            lambda error, pause: logger.error("No broker (%s): trying again in %g s", error, pause),
            self.app.conf.broker_connection_max_retries,
        )
        return self.Producer(connection, auto_declare=False)

    # -- what outlives the process
    def should_sync(self) -> bool:
        """Whether it is time to `sync`."""
        if self._last_sync is None or monotonic() - self._last_sync > self.sync_every:
            return True
        return bool(self.sync_every_tasks and self._tasks_since_sync >= self.sync_every_tasks)

    def _do_sync(self) -> None:
        try:
            self.sync()
        finally:
            self._last_sync = monotonic()
            self._tasks_since_sync = 0

    def sync(self) -> None:
        """Keep what must outlive this process."""

    def close(self) -> None:
        """Sync for the last time, and let go of the connection."""
        try:
            self.sync()
        finally:
            self.__dict__.pop("producer", None)
            connection = self.__dict__.pop("connection", None)
            if connection is not None:
                with contextlib.suppress(Exception):
                    connection.release()

    @property
    def info(self) -> str:
        """A line about where entries are kept."""
        return ""
