"""The state of a cluster as its events tell it: which workers live, what became of which task.

Events of one task may come in any order: the state that tells most wins (see taskyard.states), and an event
that belongs before it only adds what it alone knows.  The order of tasks is that of the logical clock.
"""

from __future__ import annotations

import logging
import threading
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from itertools import islice
from time import time
from typing import Any, ClassVar, TypeAlias
from weakref import WeakSet, ref

from kombu.clocks import timetuple
from kombu.utils.functional import LRUCache

from taskyard.events.task import TASK_EVENT_TO_STATE as TASK_EVENT_TO_STATE
from taskyard.events.task import Task

__all__ = ("State", "Task", "Worker", "heartbeat_expires")

#: A worker is dead when its heartbeat is overdue by this many percent of its interval.
HEARTBEAT_EXPIRE_WINDOW = 200
#: Seconds that a worker's clock may differ from ours before we warn.
HEARTBEAT_DRIFT_MAX = 16

logger = logging.getLogger("taskyard.events.state")
warn = logger.warning

#: Hosts that were warned of, so that each is once.
_drifting: LRUCache = LRUCache(1000)


def _warn_of_drift(hostname: str | None, drift: float, received: float, timestamp: float) -> None:
    if hostname in _drifting:
        return
    _drifting[hostname] = True
    warn(
        "Substantial drift from %s may mean clocks are out of sync.  Current drift is %s seconds.  "
        "[orig: %s recv: %s]",
        hostname,
        drift,
        datetime.fromtimestamp(float(received)),
        datetime.fromtimestamp(float(timestamp)),
    )


def heartbeat_expires(
    timestamp: float | Decimal, freq: float | Decimal = 60, expire_window: float = HEARTBEAT_EXPIRE_WINDOW
) -> float:
    """When a worker whose last heartbeat was at `timestamp` counts as dead."""
    return float(timestamp) + float(freq) * (expire_window / 100)


class Worker:
    """What is known of one worker."""

    #: Heartbeats that are remembered.
    heartbeat_max = 4
    expire_window = HEARTBEAT_EXPIRE_WINDOW

    _fields: ClassVar[tuple[str, ...]] = (
        "hostname",
        "pid",
        "freq",
        "heartbeats",
        "clock",
        "active",
        "processed",
        "loadavg",
        "sw_ident",
        "sw_ver",
        "sw_sys",
    )

    def __init__(
        self,
        hostname: str | None = None,
        pid: int | None = None,
        freq: float = 60,
        heartbeats: list[float] | None = None,
        clock: int = 0,
        active: int | None = None,
        processed: int | None = None,
        loadavg: list[float] | None = None,
        sw_ident: str | None = None,
        sw_ver: str | None = None,
        sw_sys: str | None = None,
    ) -> None:
        self.hostname = hostname
        self.pid = pid
        self.freq = freq
        self.heartbeats = [] if heartbeats is None else heartbeats
        self.clock = clock or 0
        self.active = active
        self.processed = processed
        self.loadavg = loadavg
        self.sw_ident = sw_ident
        self.sw_ver = sw_ver
        self.sw_sys = sw_sys

    def __eq__(self, other: object) -> bool:
        return self.hostname == other.hostname if isinstance(other, Worker) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hostname)

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname} ({self.status_string} clock:{self.clock})"

    def __reduce__(self) -> Any:
        return self.__class__, tuple(getattr(self, name) for name in self._fields)

    def event(
        self,
        type_: str | None,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: Mapping[str, Any] | None = None,
        max_drift: float = HEARTBEAT_DRIFT_MAX,
    ) -> None:
        """Something was heard of the worker: a sign of life, unless it says that it goes away."""
        if fields:
            self.__dict__.update(fields)
        if type_ == "offline":
            self.heartbeats[:] = []
            return
        if not local_received or not timestamp:
            return
        drift = abs(int(local_received) - int(timestamp))
        if drift > max_drift:
            _warn_of_drift(self.hostname, drift, local_received, timestamp)
        if len(self.heartbeats) >= self.heartbeat_max:
            del self.heartbeats[0]
        insort(self.heartbeats, local_received)

    def update(self, f: Mapping[str, Any], **kw: Any) -> None:
        """Set attributes."""
        for name, value in {**f, **kw}.items():
            setattr(self, name, value)

    @property
    def status_string(self) -> str:
        """ONLINE or OFFLINE."""
        return "ONLINE" if self.alive else "OFFLINE"

    @property
    def heartbeat_expires(self) -> float:
        """When it counts as dead without another heartbeat."""
        return heartbeat_expires(self.heartbeats[-1], self.freq, self.expire_window)

    @property
    def alive(self) -> bool:
        """Whether its last heartbeat is not overdue."""
        return bool(self.heartbeats) and time() < self.heartbeat_expires

    @property
    def id(self) -> str:
        """Name and process."""
        return f"{self.hostname}.{self.pid}"


class _Index(defaultdict[str, "WeakSet[Task]"]):
    """Tasks by something; called like the method that it is in other versions, it yields them by time."""

    def __init__(self, by_time: Callable[..., Iterator[Any]]) -> None:
        super().__init__(WeakSet)
        self._by_time = by_time

    def __call__(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return self._by_time(*args, **kwargs)


#: The same by names that the class below does not shadow.
_AnyWorker: TypeAlias = Worker
_AnyTask: TypeAlias = Task


class State:
    """Workers and tasks of a cluster; `event` takes each event, from any thread.

    `callback(state, event)` sees each event first.  The least recently seen are forgotten beyond
    `max_workers_in_memory` and `max_tasks_in_memory`.
    """

    Worker: Any = Worker
    Task: Any = Task
    event_count = 0
    task_count = 0
    #: Events in the order by time for each task that is kept.
    heap_multiplier = 4

    def __init__(
        self,
        callback: Callable[[State, dict[str, Any]], Any] | None = None,
        workers: Any = None,
        tasks: Any = None,
        taskheap: list[Any] | None = None,
        max_workers_in_memory: int = 5000,
        max_tasks_in_memory: int = 10000,
        on_node_join: Callable[[_AnyWorker], Any] | None = None,
        on_node_leave: Callable[[_AnyWorker], Any] | None = None,
        tasks_by_type: Mapping[str, list[str]] | None = None,
        tasks_by_worker: Mapping[str, list[str]] | None = None,
    ) -> None:
        self.event_callback = callback
        self.workers = LRUCache(max_workers_in_memory) if workers is None else workers
        self.tasks = LRUCache(max_tasks_in_memory) if tasks is None else tasks
        self._taskheap: list[Any] = [] if taskheap is None else taskheap
        self.max_workers_in_memory = max_workers_in_memory
        self.max_tasks_in_memory = max_tasks_in_memory
        self.on_node_join = on_node_join
        self.on_node_leave = on_node_leave
        self._mutex = threading.Lock()
        #: Event group -> handler(subject, event), instead of what State does with that group.
        self.handlers: dict[str, Callable[[str, dict[str, Any]], Any]] = {}
        self._seen_types: set[str] = set()
        #: Children whose parents nothing was heard of yet.
        self._tasks_to_resolve = LRUCache(max_tasks_in_memory)
        self.rebuild_taskheap()
        self.tasks_by_type = _Index(self._tasks_by_type)
        self.tasks_by_worker = _Index(self._tasks_by_worker)
        for index, known in ((self.tasks_by_type, tasks_by_type), (self.tasks_by_worker, tasks_by_worker)):
            for name, ids in (known or {}).items():
                index[name].update(self.tasks[each] for each in ids if each in self.tasks)

    def __repr__(self) -> str:
        return f"<State: events={self.event_count} tasks={self.task_count}>"

    def __reduce__(self) -> Any:
        indexes = [
            {name: [task.id for task in tasks] for name, tasks in index.items()}
            for index in (self.tasks_by_type, self.tasks_by_worker)
        ]
        return self.__class__, (
            self.event_callback,
            self.workers,
            self.tasks,
            None,
            self.max_workers_in_memory,
            self.max_tasks_in_memory,
            self.on_node_join,
            self.on_node_leave,
            *indexes,
        )

    # -- events in
    def event(self, event: dict[str, Any]) -> Any:
        """Take an event: ((worker or task, whether it is new), subject), or None for what is nothing here."""
        with self._mutex:
            return self._event(event)

    def _event(self, event: dict[str, Any]) -> Any:
        self.event_count += 1
        if self.event_callback:
            self.event_callback(self, event)
        group, _, subject = event["type"].partition("-")
        handler = self.handlers.get(group)
        if handler is not None:
            return handler(subject, event), subject
        if group == "worker":
            return self._worker_event(subject, event)
        if group == "task":
            return self._task_event(subject, event)
        return None

    def _worker_event(self, subject: str, event: dict[str, Any]) -> Any:
        if not {"hostname", "timestamp", "local_received"} <= event.keys():
            return None
        hostname = event["hostname"]
        leaves = subject == "offline"
        worker = self.workers.data.get(hostname)
        created = worker is None and not leaves
        if worker is None:
            worker = self.Worker(hostname)
            if created:
                self.workers[hostname] = worker
        worker.event(subject, event["timestamp"], event["local_received"], event)
        if self.on_node_join and (created or subject == "online"):
            self.on_node_join(worker)
        if self.on_node_leave and leaves:
            self.on_node_leave(worker)
            self.workers.pop(hostname, None)
        return (worker, created), subject

    def _task_event(self, subject: str, event: dict[str, Any]) -> Any:
        uuid, hostname, timestamp = event["uuid"], event["hostname"], event["timestamp"]
        received, clock = event["local_received"], event["clock"]
        task = self.tasks.data.get(uuid)
        created = task is None
        if task is None:
            task = self.tasks[uuid] = self.Task(uuid, cluster_state=self)
        if subject == "sent":  # the one that clients send
            task.client = origin = hostname
        else:
            worker = self.workers.data.get(hostname)
            if worker is None:
                worker = self.workers[hostname] = self.Worker(hostname)
            task.worker = worker
            if received:
                worker.event(None, received, timestamp)
            origin = worker.id
        self._put_in_order(timetuple(clock, timestamp, origin, ref(task)))
        if subject == "received":
            self.task_count += 1
        task.event(subject, timestamp, received, event)
        self._relate(task, created, hostname)
        return (task, created), subject

    def _put_in_order(self, moment: Any) -> None:
        heap = self._taskheap
        if len(heap) >= self.max_tasks_in_memory * self.heap_multiplier:
            del heap[0]
        if heap and moment > heap[-1]:
            heap.append(moment)
        else:
            insort(heap, moment)

    def _relate(self, task: _AnyTask, created: bool, hostname: str) -> None:
        if task.name is not None:
            self._seen_types.add(task.name)
            if created:
                self.tasks_by_type[task.name].add(task)
                self.tasks_by_worker[hostname].add(task)
        if task.parent_id:
            parent = self.tasks.data.get(task.parent_id)
            if parent is not None:
                parent.children.add(task)
            else:
                waiting = self._tasks_to_resolve.data.get(task.parent_id)
                if waiting is None:
                    waiting = self._tasks_to_resolve[task.parent_id] = WeakSet()
                waiting.add(task)
        if task.uuid in self._tasks_to_resolve:
            task.children.update(self._tasks_to_resolve.pop(task.uuid))

    def task_event(self, type_: str, fields: dict[str, Any]) -> Any:
        """An event by type and fields (of older versions)."""
        return self._event({**fields, "type": f"task-{type_}"})[0]

    def worker_event(self, type_: str, fields: dict[str, Any]) -> Any:
        """An event by type and fields (of older versions)."""
        return self._event({**fields, "type": f"worker-{type_}"})[0]

    def get_or_create_worker(self, hostname: str, **kwargs: Any) -> tuple[_AnyWorker, bool]:
        """The worker of that name, and whether it is new."""
        if hostname in self.workers:
            worker = self.workers[hostname]
            worker.update(kwargs)
            return worker, False
        worker = self.workers[hostname] = self.Worker(hostname, **kwargs)
        return worker, True

    def get_or_create_task(self, uuid: str) -> tuple[_AnyTask, bool]:
        """The task of that id, and whether it is new."""
        if uuid in self.tasks:
            return self.tasks[uuid], False
        task = self.tasks[uuid] = self.Task(uuid, cluster_state=self)
        return task, True

    # -- forgetting
    def freeze_while(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `fun` while no event changes anything; with `clear_after` forget what has ended."""
        clear_after = kwargs.pop("clear_after", False)
        with self._mutex:
            try:
                return fun(*args, **kwargs)
            finally:
                if clear_after:
                    self._clear(ready=True)

    def clear_tasks(self, ready: bool = True) -> None:
        """Forget the tasks that have ended, or all."""
        with self._mutex:
            self._clear_tasks(ready)

    def clear(self, ready: bool = True) -> None:
        """Forget the workers, and the tasks that have ended (or all)."""
        with self._mutex:
            self._clear(ready)

    def _clear(self, ready: bool) -> None:
        self.workers.clear()
        self._clear_tasks(ready)
        self.event_count = 0
        self.task_count = 0

    def _clear_tasks(self, ready: bool) -> None:
        unfinished = {uuid: task for uuid, task in self.itertasks() if not task.ready} if ready else {}
        self.tasks.clear()
        self.tasks.update(unfinished)
        self._taskheap[:] = []

    def rebuild_taskheap(self) -> None:
        """Order the tasks by time anew."""
        self._taskheap[:] = sorted(
            timetuple(task.clock, task.timestamp, task.origin, ref(task)) for task in self.tasks.values()
        )

    # -- views
    def itertasks(self, limit: int | None = None) -> Iterator[tuple[str, Any]]:
        """(id, task) of at most `limit` tasks."""
        return islice(iter(self.tasks.items()), limit or None)

    def tasks_by_time(self, limit: int | None = None, reverse: bool = True) -> Iterator[tuple[str, Any]]:
        """(id, task) by time, the latest first unless `reverse` is off."""
        heap = reversed(self._taskheap) if reverse else iter(self._taskheap)
        seen = set()
        for moment in islice(heap, limit):
            task = moment[3]()
            if task is not None and task.uuid not in seen:
                seen.add(task.uuid)
                yield task.uuid, task

    tasks_by_timestamp = tasks_by_time

    def _tasks_by_type(
        self, name: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, Any]]:
        found = (row for row in self.tasks_by_time(reverse=reverse) if row[1].name == name)
        return islice(found, limit)

    def _tasks_by_worker(
        self, hostname: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, Any]]:
        found = (
            row
            for row in self.tasks_by_time(reverse=reverse)
            if row[1].worker is not None and row[1].worker.hostname == hostname
        )
        return islice(found, limit)

    def task_types(self) -> list[str]:
        """The names of all tasks seen."""
        return sorted(self._seen_types)

    def alive_workers(self) -> Iterator[Any]:
        """The workers that seem to be alive."""
        return (worker for worker in self.workers.values() if worker.alive)
