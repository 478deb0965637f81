"""Celery's names for a worker's parts, for steps, signals' receivers and programs that embed a worker."""

from __future__ import annotations

import os
import weakref
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taskyard.bootsteps import CLOSE, RUN
from taskyard.worker.figures import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskyard.worker.remote.request import Request
    from taskyard.worker.timers import Timers

#: The workers of this process, while they run: one, but for tests.
running: weakref.WeakSet[Controller] = weakref.WeakSet()


class Controller:
    """Mixed into Worker."""

    node: str
    #: Set when the worker is to end.
    exit_code: int | None
    options: Any
    state: Any
    remote: Any
    loop: Any
    consumer: Any
    run: Callable[..., int]
    stop_cold: Callable[[str], None]

    @property
    def hostname(self) -> str:
        """The node's name."""
        return self.node

    @property
    def pid(self) -> int:
        """The process."""
        return os.getpid()

    @property
    def exitcode(self) -> int | None:
        """The exit code, once it is known."""
        return self.exit_code

    @property
    def concurrency(self) -> int:
        """How many tasks run at the same time."""
        return int(self.state.slots)

    @property
    def hub(self) -> Any:
        """The loop."""
        return self.loop

    @cached_property
    def timer(self) -> Timers:
        """Timers in the loop."""
        from taskyard.worker.timers import Timers

        return Timers(self.loop)

    @property
    def active_requests(self) -> list[Request]:
        """What runs."""
        running: list[Request] = self.remote.view.active()
        return running

    @property
    def reserved_requests(self) -> list[Request]:
        """What was taken and has not begun."""
        waiting: list[Request] = self.remote.view.reserved()
        return waiting

    @property
    def blueprint(self) -> Any:
        """`state` is bootsteps.RUN or CLOSE."""
        return _Blueprint(self.state.phase)

    def start(self) -> int:
        """Work until stopped; the exit code."""
        return self.run()

    def terminate(self, in_sighandler: bool = False) -> None:
        """End by a cold shutdown."""
        self.stop_cold("terminate()")

    def stats(self) -> dict[str, Any]:
        """What `inspect stats` shows."""
        figures: dict[str, Any] = self.remote.view.stats()
        return figures

    def info(self) -> dict[str, Any]:
        """The same in short."""
        figures = self.stats()
        return {name: figures[name] for name in ("total", "pid", "clock", "uptime")}

    def rusage(self) -> dict[str, Any]:
        """What this process has used."""
        used: dict[str, Any] = self.stats()["rusage"]
        return used

    def snapshot(self) -> dict[str, Any]:
        """The state for /state; reads only, so any thread may ask."""
        from taskyard.worker.endpoint import snapshot

        worker: Any = self
        return snapshot(worker)


class _Blueprint:
    """The worker's phase in the words of bootsteps."""

    def __init__(self, phase: Phase) -> None:
        self.state = {Phase.STARTING: None, Phase.STOPPING: CLOSE}.get(phase, RUN)

    def human_state(self) -> str:
        """The state in a word."""
        return {None: "initializing", RUN: "running", CLOSE: "closing"}[self.state]
