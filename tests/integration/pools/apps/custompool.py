"""A pool of one's own: runs each job in the worker's own process."""

from typing import Any

from taskyard import App
from taskyard.execution.job import Job
from taskyard.execution.runner import Runner
from taskyard.pool.choose import PoolOptions
from taskyard.pool.pool import Limits, Pool, Running


class Inline(Pool):
    def __init__(self, app: App, options: PoolOptions) -> None:
        self.slots = options.slots
        self._runner = Runner(app, options.hostname, store=options.store)

    def start(self) -> None: ...

    def attach(self, loop: Any) -> None:
        self._loop = loop

    def accepts(self, name: str) -> bool:
        return True

    def submit(self, job: Job, limits: Limits) -> None:
        self._loop.call_soon(self.on_outcomes, [self._runner.run(job)])

    def flush(self) -> None: ...

    def depth(self, name: str) -> int:
        return 1

    def take_back(self) -> list[int]:
        return []

    def running(self) -> list[Running]:
        return []

    def kill(self) -> None: ...

    def close(self) -> None: ...
