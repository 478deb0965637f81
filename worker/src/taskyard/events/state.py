"""The state of a cluster as its events tell it: which workers live, what became of which task.

Events of one task may come in any order: the state that tells most wins (see taskyard.states), and an event
that belongs before it only adds what it alone knows.  The order of tasks is that of the logical clock.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias
from weakref import WeakSet, ref

from kombu.clocks import timetuple
from kombu.utils.functional import LRUCache

from taskyard.events.kept import Index, Kept
from taskyard.events.task import TASK_EVENT_TO_STATE as TASK_EVENT_TO_STATE
from taskyard.events.task import Task
from taskyard.events.worker import HEARTBEAT_DRIFT_MAX as HEARTBEAT_DRIFT_MAX
from taskyard.events.worker import HEARTBEAT_EXPIRE_WINDOW as HEARTBEAT_EXPIRE_WINDOW
from taskyard.events.worker import Worker, heartbeat_expires

__all__ = ("State", "Task", "Worker", "heartbeat_expires")

logger = logging.getLogger("taskyard.events.state")
warn = logger.warning

#: Hosts that were warned of, so that each is once.
_drifting: LRUCache = LRUCache(1000)


def warn_of_drift(hostname: str | None, drift: float, received: float, timestamp: float) -> None:
    """Say, once for each host, that its clock differs from ours."""
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


#: The same by names that the class below does not shadow.
_AnyWorker: TypeAlias = Worker
_AnyTask: TypeAlias = Task


class State(Kept):
    """Workers and tasks of a cluster; `event` takes each event, from any thread.

    `callback(state, event)` sees each event first.  The least recently seen are forgotten beyond
    `max_workers_in_memory` and `max_tasks_in_memory`.
    """

    Worker: Any = Worker
    Task: Any = Task

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
        self.tasks_by_type = Index(self._tasks_by_type)
        self.tasks_by_worker = Index(self._tasks_by_worker)
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
