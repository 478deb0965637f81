"""start_worker: a worker in a thread of the test's process."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from taskyard.app import App
from taskyard.message.identity import origin
from taskyard.result import allow_join_result
from taskyard.signals import Signal
from taskyard.worker.options import Options
from taskyard.worker.worker import Worker

WORKER_LOGLEVEL = os.environ.get("WORKER_LOGLEVEL", "error")

test_worker_starting = Signal("test_worker_starting")
test_worker_started = Signal("test_worker_started", {"worker", "consumer"})
test_worker_stopped = Signal("test_worker_stopped", {"worker"})

_FIELDS = frozenset(each.name for each in fields(Options))
#: Options of Celery's worker that are without meaning here.
_IGNORED = frozenset(
    {"without_mingle", "without_gossip", "ready_callback", "loglevel", "logfile", "optimization"}
)


class TestWorkController(Worker):
    """A worker that says when it is ready."""

    __test__ = False

    def __init__(self, app: App, options: Options | None = None, *, hostname: str | None = None) -> None:
        super().__init__(app, options, hostname=hostname)
        self._ready = threading.Event()
        self._failure: BaseException | None = None

    def _on_open(self, link: Any) -> None:
        super()._on_open(link)
        if not self._ready.is_set():
            test_worker_started.send(sender=self.app, worker=self, consumer=self.consumer)
            self._ready.set()

    def run_in_thread(self) -> None:
        """Work until stopped; the pool has been started elsewhere."""
        try:
            code = self.run(catch_signals=False, start_pool=False)
            if code:
                self._failure = RuntimeError(f"the worker ended with exit code {code}; its log says why")
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    def ensure_started(self, timeout: float | None = 60.0) -> None:
        """Wait until it consumes; RuntimeError if it ends before, or is not ready in `timeout` seconds."""
        if not self._ready.wait(timeout):
            raise RuntimeError(f"the worker was not ready within {timeout:g} s")
        if self._failure is not None:
            raise RuntimeError("the worker could not start") from self._failure

    def reload(self, modules: Any = None, reload: bool = False, reloader: Any = None) -> None:
        """Celery's way to make tasks known that were defined since the start: here they are at once."""


@contextmanager
def start_worker(
    app: App,
    concurrency: int = 1,
    pool: Any = "solo",
    loglevel: str | int = WORKER_LOGLEVEL,
    logfile: str | None = None,
    perform_ping_check: bool = True,
    ping_task_timeout: float = 10.0,
    shutdown_timeout: float = 10.0,
    **options: Any,
) -> Iterator[TestWorkController]:
    """A worker for the time of the block; it has answered a ping when the block begins.

    Solo runs the tasks in that thread, and over memory:// threads and asyncio run them in this process too,
    so that an app in memory will do; other pools have processes, and need a broker and a result store that
    these can reach.  Times are in seconds.  `options` are fields of
    taskyard.worker.options.Options (queues, hostname, ...).
    RuntimeError if its tasks do not end within `shutdown_timeout`.
    """
    test_worker_starting.send(sender=app)
    worker = None
    try:
        with _worker_thread(app, concurrency, pool, loglevel, logfile, shutdown_timeout, **options) as worker:
            if perform_ping_check:
                from taskyard.contrib.testing.tasks import ping

                with allow_join_result():
                    answer = app.tasks[ping.name].delay().get(timeout=ping_task_timeout)
                assert answer == "pong", f"the worker answered {answer!r} to ping"
            yield worker
    finally:
        test_worker_stopped.send(sender=app, worker=worker)


@contextmanager
def _worker_thread(
    app: App,
    concurrency: int,
    pool: Any,
    loglevel: str | int,
    logfile: str | None,
    shutdown_timeout: float,
    WorkController: Any = TestWorkController,  # noqa: N803  Celery's name
    hostname: str | None = None,
    queues: str | Iterable[str] | None = None,
    **more: Any,
) -> Iterator[TestWorkController]:
    setup_app_for_worker(app, loglevel, logfile)
    known = {name: value for name, value in more.items() if name in _FIELDS}
    unknown = set(more) - _FIELDS - _IGNORED
    if unknown:
        raise TypeError(f"start_worker has no option {sorted(unknown)[0]!r}")
    names = queues.split(",") if isinstance(queues, str) else list(queues or app.router.queues.consume_from)
    known.setdefault("without_heartbeat", True)
    node = hostname or origin()
    worker = WorkController(
        app,
        Options(queues=tuple(names), concurrency=concurrency, pool=pool, nodename=node, **known),
        hostname=node,
    )
    # Children are forked while this thread is the only one that works for the app.
    worker.pool.start()
    thread = threading.Thread(target=worker.run_in_thread, name=node, daemon=True)
    thread.start()
    try:
        worker.ensure_started()
        yield worker
    finally:
        if thread.is_alive():
            worker.loop.call_soon_threadsafe(worker.stop, "test")
        thread.join(shutdown_timeout)
        if thread.is_alive():
            worker.loop.call_soon_threadsafe(worker.stop_cold, "test")
            raise RuntimeError(
                f"the worker's thread did not end within {shutdown_timeout:g} s: a task still runs; "
                "raise shutdown_timeout if your tasks take longer"
            )


def setup_app_for_worker(app: App, loglevel: str | int, logfile: str | None = None) -> None:
    """Make it the current and default app, with all its tasks."""
    app.finalize()
    app.set_current()
    app.set_default()
    level = loglevel.upper() if isinstance(loglevel, str) else loglevel
    logging.getLogger("taskyard").setLevel(level)
    if logfile:
        logging.getLogger("taskyard").addHandler(logging.FileHandler(logfile))
