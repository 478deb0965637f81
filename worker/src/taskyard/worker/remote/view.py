"""What a command's handler gets as `state`: Celery's names for the parts of the worker that commands use."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable, Iterator
from math import ceil
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from taskyard.worker.remote.request import Request

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.worker.held import Held
    from taskyard.worker.remote.remote import Remote
    from taskyard.worker.worker import Worker


class WorkerView:
    """`state` of a command's handler."""

    def __init__(self, worker: Worker, remote: Remote) -> None:
        self.worker = worker
        self.remote = remote
        self.app: App = worker.app
        self.hostname = worker.node
        self.consumer = ConsumerView(self)
        #: The unix second at which monotonic() was 0.
        self._epoch = time() - monotonic()
        #: Whether the request that is being answered was meant for all workers.
        self.everywhere = True

    @staticmethod
    def tset(requests: Iterable[Any]) -> set[Any]:
        """A set (Celery's handlers take one of a type that suits the pool)."""
        return set(requests)

    # -- tasks
    def active(self) -> list[Request]:
        """What runs."""
        running = self.worker.consumer.running
        return [
            self._request(running[each.seq], self._epoch + each.began, each.pid or os.getpid())
            for each in self.worker.pool.running()
            if each.seq in running
        ]

    def reserved(self) -> list[Request]:
        """What was taken and has not begun."""
        consumer = self.worker.consumer
        begun = {each.seq for each in self.worker.pool.running()}
        waiting = [held for seq, held in consumer.running.items() if seq not in begun]
        limited = [held for held in consumer.parked if held.envelope.eta is None]
        return [self._request(held) for held in (*waiting, *consumer.ready, *limited)]

    def scheduled(self) -> list[Request]:
        """What waits for its time: here, or in the broker since it passed by here."""
        parked = [
            self._request(held) for held in self.worker.consumer.parked if held.envelope.eta is not None
        ]
        return [*parked, *self.remote.deferred.requests(self)]

    def find(self, ids: Iterable[str]) -> Iterator[tuple[str, Request]]:
        """(state, request) of each of these ids that this worker knows."""
        wanted = set(ids)
        for state, requests in (
            ("active", self.active()),
            ("reserved", self.reserved()),
            ("scheduled", self.scheduled()),
        ):
            for request in requests:
                if request.id in wanted:
                    wanted.discard(request.id)
                    yield state, request

    def _request(self, held: Held, began: float | None = None, pid: int | None = None) -> Request:
        return Request(
            self.app, self.hostname, held.delivery, held.envelope, time_start=began, worker_pid=pid
        )

    # -- figures
    def stats(self) -> dict[str, Any]:
        """The figures that `inspect stats` shows."""
        worker = self.worker
        link = worker.supervisor.link
        scaling = {} if worker.autoscaler is None else {"autoscaler": worker.autoscaler.info()}
        return {
            "total": dict(worker.state.accepted),
            **scaling,
            "pid": os.getpid(),
            "clock": str(self.app.clock.value),
            "uptime": ceil(monotonic() - worker.state.born),
            "pool": self._pool_info(),
            "broker": {} if link is None else broker_info(link.connection),
            "prefetch_count": 0 if link is None else link.prefetch,
            "rusage": _rusage(),
        }

    def _pool_info(self) -> dict[str, Any]:
        worker, options = self.worker, self.worker.options
        pool = worker.pool
        return {
            **_threads(pool),
            "implementation": f"{type(pool).__module__}:{type(pool).__qualname__}",
            "max-concurrency": pool.slots,
            "processes": list(pool.pids),
            "max-tasks-per-child": options.max_tasks_per_child or "N/A",
            "put-guarded-by-semaphore": False,
            "timeouts": [options.soft_time_limit or 0, options.time_limit or 0],
            "writes": {
                "total": worker.state.started,
                "avg": "",
                "all": "",
                "raw": "",
                "strategy": "fair",
                "inqueues": {"total": len(pool.pids), "active": len(pool.running())},
            },
        }


def _threads(pool: Any) -> dict[str, Any]:
    """What Celery's pools of threads and greenlets tell of themselves."""
    busy = len(pool.running())
    if pool.kind == "threads":
        return {"threads": pool.slots}
    if pool.kind == "eventlet":
        return {"free-threads": pool.slots - busy, "running-threads": busy}
    return {}


class ConsumerView:
    """`state.consumer`: what commands of users know it by."""

    def __init__(self, view: WorkerView) -> None:
        self._view = view
        self.qos = Prefetch(view)

    @property
    def app(self) -> App:
        """The app."""
        return self._view.app

    @property
    def hostname(self) -> str:
        """The node's name."""
        return self._view.hostname

    @property
    def controller(self) -> Worker:
        """The worker."""
        return self._view.worker

    @property
    def pool(self) -> Any:
        """The pool."""
        return self._view.worker.pool

    @property
    def event_dispatcher(self) -> Any:
        """What sends events: `send(type, **fields)`."""
        return self._view.remote.eventer

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> None:
        """Call in the next turn of the loop."""
        self._view.worker.loop.call_soon(callback, *args)

    def add_task_queue(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str | None = None,
        routing_key: str | None = None,
        **options: Any,
    ) -> None:
        """Consume a queue more."""
        self._view.remote.queues.add(queue, exchange, exchange_type, routing_key, options)

    def cancel_task_queue(self, queue: str) -> None:
        """Consume a queue no more."""
        self._view.remote.queues.cancel(queue)

    def reset_rate_limits(self) -> None:
        """Read the rates of all tasks anew."""
        self._view.worker.consumer.read_rates()


class Prefetch:
    """`state.consumer.qos`: the number of messages that are fetched ahead."""

    def __init__(self, view: WorkerView) -> None:
        self._view = view

    @property
    def value(self) -> int:
        """How many."""
        return self._view.worker.flow.prefetch()

    def increment_eventually(self, n: int = 1) -> int:
        """So many more."""
        self._view.worker.flow.extra += n
        return self.value

    def decrement_eventually(self, n: int = 1) -> int:
        """So many less."""
        return self.increment_eventually(-n)


def broker_info(connection: Any) -> dict[str, Any]:
    """What kombu knows of a connection, as JSON can have it, without the password."""
    info = dict(connection.info())
    info.pop("password", None)
    options = info.get("transport_options") or {}
    info["transport_options"] = {
        name: value for name, value in options.items() if isinstance(value, (str, int, float, bool))
    }
    transport = info.get("transport")
    info["transport"] = connection.transport.driver_type if not isinstance(transport, str) else transport
    if "taskyard" in str(info["transport"]):
        info["transport"] = connection.transport.driver_type
    info["alternates"] = []
    info.setdefault("credential_provider", None)
    return {
        name: value if isinstance(value, (str, int, float, bool, list, dict, type(None))) else str(value)
        for name, value in info.items()
    }


def _rusage() -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    names = (
        "utime stime maxrss ixrss idrss isrss minflt majflt nswap inblock oublock msgsnd msgrcv nsignals "
        "nvcsw nivcsw"
    )
    return {name: getattr(used, f"ru_{name}") for name in names.split()}
