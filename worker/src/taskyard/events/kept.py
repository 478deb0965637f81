"""What a state keeps of a cluster: workers, and tasks in the order of the logical clock."""

from __future__ import annotations

import threading
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, ref

from kombu.clocks import timetuple

if TYPE_CHECKING:
    from taskyard.events.task import Task


class Index(defaultdict[str, "WeakSet[Task]"]):
    """Tasks by something; called like the method that it is in other versions, it yields them by time."""

    def __init__(self, by_time: Callable[..., Iterator[Any]]) -> None:
        super().__init__(WeakSet)
        self._by_time = by_time

    def __call__(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """The tasks by time."""
        return self._by_time(*args, **kwargs)


class Kept:
    """The half of State that remembers, shows and forgets; the other takes events in."""

    workers: Any
    tasks: Any
    max_tasks_in_memory: int
    event_count = 0
    task_count = 0
    #: Events in the order by time for each task that is kept.
    heap_multiplier = 4

    _taskheap: list[Any]
    _mutex: threading.Lock
    _seen_types: set[str]

    def _put_in_order(self, moment: Any) -> None:
        heap = self._taskheap
        if len(heap) >= self.max_tasks_in_memory * self.heap_multiplier:
            del heap[0]
        if heap and moment > heap[-1]:
            heap.append(moment)
        else:
            insort(heap, moment)

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
