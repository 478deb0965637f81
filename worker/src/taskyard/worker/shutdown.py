"""Shutdown: how a worker ends.

Warm: begin nothing more and wait for what runs, as long as the grace period allows.  Cold: end what runs and
give everything back.  Soft: a cold one that waits before (worker_soft_shutdown_timeout).
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.errors import WorkerShutdown, WorkerTerminate
from taskyard.signals import worker_shutting_down
from taskyard.worker.figures import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskyard.worker.worker import Worker

logger = logging.getLogger("taskyard.worker")

#: Seconds that are kept of the grace period for giving back and leaving.
_LEAVE_SECONDS = 5.0


class Shutdown:
    """Carries one worker to its end; everything in the loop's thread."""

    def __init__(self, worker: Worker, grace_seconds: float | None) -> None:
        self._worker = worker
        self._grace_seconds = grace_seconds
        #: monotonic() when what still runs is ended.
        self._deadline: float | None = None
        self._soft = False
        #: Whether what ran was ended.
        self.was_cold = False
        #: The exit code that WorkerShutdown or WorkerTerminate asked for.
        self._code: Any = None

    def work(self, turn: Callable[[], None]) -> None:
        """Turn the loop until the worker has an exit code; what is called in it may raise WorkerShutdown."""
        worker = self._worker
        while worker.exit_code is None:
            try:
                while worker.exit_code is None:
                    turn()
            except WorkerShutdown as asked:
                self._code = asked.code
                self.warm("WorkerShutdown")
            except WorkerTerminate as asked:
                self._code = asked.code
                self.cold("WorkerTerminate")
        if worker.exit_code == 0 and isinstance(self._code, int):
            worker.exit_code = self._code

    def warm(self, why: str) -> None:
        """Begin nothing more, wait for what runs."""
        worker = self._worker
        if worker.state.phase is Phase.STOPPING:
            return
        logger.info("%s: warm shutdown, %s tasks still run", why, len(worker.consumer.running))
        self._announce(why, "Warm")
        grace = self._grace_seconds
        if grace is not None:
            self._deadline = monotonic() + max(grace - _LEAVE_SECONDS, grace * 0.9)
        worker.close_tap()
        logger.debug("Stopped consuming, %s messages are left", worker.consumer.held)

    def cold(self, why: str) -> None:
        """End what runs: at once, or after the soft shutdown's time when this is the first request."""
        worker, conf = self._worker, self._worker.app.conf
        running = len(worker.consumer.running)
        seconds = conf.worker_soft_shutdown_timeout
        if seconds > 0 and not self._soft and (running or conf.worker_enable_soft_shutdown_on_idle):
            self._soft = True
            self._announce(why, "Cold")
            logger.warning("Initiating Soft Shutdown, terminating in %g seconds", seconds)
            self._deadline = monotonic() + seconds
            worker.close_tap()
            return
        logger.warning("%s: cold shutdown, running tasks go back to their queues", why)
        if not self._soft:
            self._announce(why, "Cold")
        self._end_now()

    @property
    def waits_on_idle(self) -> bool:
        """Whether an idle worker stays until the soft shutdown's time is over."""
        return self._soft and self._worker.app.conf.worker_enable_soft_shutdown_on_idle

    def check(self) -> None:
        """Called often: end what still runs when its time is over, and all where celery.worker.state says
        so.
        """
        worker = self._worker
        asked: Any = sys.modules.get("taskyard.worker.state")
        if asked is not None and not (self._soft or worker.state.phase is Phase.STOPPING):
            asked.maybe_shutdown()
        if self._deadline is None or monotonic() < self._deadline or worker.exit_code is not None:
            return
        what = "soft shutdown" if self._soft else "grace period"
        logger.warning("The %s is over: %s running tasks go back to their queues", what, worker.state.held)
        self._end_now()

    def _announce(self, why: str, how: str) -> None:
        worker = self._worker
        if worker.state.phase is not Phase.STOPPING or how == "Cold":
            # Celery says it with these words on standard output, and scripts wait for them.
            # Who read it may be gone, which must not keep the worker from ending.
            with suppress(OSError, ValueError):
                print(f"worker: {how} shutdown (MainProcess)", file=sys.__stdout__, flush=True)
        worker.set_phase(Phase.STOPPING)
        if worker_shutting_down:
            worker_shutting_down.send(sender=worker.node, sig=why, how=how, exitcode=0)

    def _end_now(self) -> None:
        worker = self._worker
        self.was_cold = True
        worker.close_tap()
        worker.pool.kill()
        count = len(worker.consumer.running)
        if count:
            logger.warning("Restoring %s unacknowledged message(s)", count)
        worker.consumer.give_back_running()
        worker.end(0)
