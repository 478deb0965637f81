"""Celery's worker and ours on the same broker with the same tasks, and what they recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from tests.brokers.ports import free_ports, listening

APPS = Path(__file__).parent / "apps"

Side = Literal["celery", "taskyard"]


def wait_until(condition: Callable[[], Any], timeout: float = 60.0, what: str = "condition") -> Any:
    """The first true value of the condition; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} not within {timeout} s"
        time.sleep(0.02)


class Worker:
    """A worker process of either side."""

    def __init__(
        self,
        side: Side,
        directory: Path,
        environment: dict[str, str],
        name: str,
        arguments: tuple[str, ...],
        *,
        gossip: bool = False,
    ) -> None:
        self.side = side
        self.name = name
        self.record = directory / "record"
        self.log = directory / f"log-{side}-{name}"
        (self.port,) = free_ports(1)
        self.environment = {
            **os.environ,
            **environment,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(APPS), os.environ.get("PYTHONPATH")))),
            "RECORD": str(self.record),
            "SIDE": side,
            "TASKYARD_HTTP": f"127.0.0.1:{self.port}",
            "WORKER": name,
        }
        common = ["-A", "pains", "worker", "-n", f"{name}@test", *arguments]
        if side == "celery":
            quiet = [] if gossip else ["--without-gossip", "--without-mingle", "--without-heartbeat"]
            self.command = [sys.executable, "-m", "celery", *common, *quiet, "-l", "info"]
        else:
            self.command = [sys.executable, "-m", "taskyard.cli.main", *common, "-l", "info"]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Worker:
        return self.launch().await_readiness()

    def await_readiness(self) -> Worker:
        wait_until(lambda: self.ended() or self._ready(), what=f"{self.side} worker ready")
        assert not self.ended(), self.text()
        return self

    def launch(self) -> Worker:
        """Start it and do not wait."""
        with self.log.open("ab") as log:
            # In a group of its own, so that a test can signal all of its processes.
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def _ready(self) -> bool:
        if self.side == "celery":
            return f"{self.name}@test ready" in self.text()
        if not listening(self.port):
            return False
        import urllib.request

        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def children(self) -> list[int]:
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(each) for each in text.split()]

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """SIGKILL to the parent and its children at once, as when a pod is lost."""
        os.killpg(self.pid, signal.SIGKILL)
        assert self.process is not None
        self.process.wait(30)

    def close(self) -> None:
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)


class Cluster:
    """Workers of one side on one broker, and a client of the same side."""

    def __init__(self, side: Side, directory: Path, broker: str, backend: str, **environment: str) -> None:
        self.side: Side = side
        self.directory = directory
        self.record = directory / "record"
        self.environment = {"BROKER": broker, "BACKEND": backend, **environment}
        self.workers: list[Worker] = []
        #: Whether Celery's workers talk to each other, as they do unless told otherwise.
        self.gossip = False
        self._client: Any = None

    @property
    def hurts(self) -> bool:
        """Whether this is the side that has the pain."""
        return self.side == "celery"

    def start(self, *arguments: str, side: Side | None = None) -> Worker:
        return self._made(side or self.side, arguments).start()

    def launch(self, *arguments: str) -> Worker:
        """Start a worker and do not wait."""
        return self._made(self.side, arguments).launch()

    def _made(self, side: Side, arguments: tuple[str, ...]) -> Worker:
        name = f"w{len(self.workers)}"
        worker = Worker(side, self.directory, self.environment, name, arguments, gossip=self.gossip)
        self.workers.append(worker)
        return worker

    @property
    def client(self) -> Any:
        if self._client is None:
            options: dict[str, Any] = {
                "broker": self.environment["BROKER"],
                "backend": self.environment["BACKEND"],
            }
            if self.side == "celery":
                from celery import Celery

                self._client = Celery("client", set_as_current=False, **options)
            else:
                from taskyard import App

                self._client = App("client", **options)
            self._client.conf.task_default_queue_type = self.environment.get("QUEUE_TYPE", "classic")
        return self._client

    def send(self, task: str, *args: Any, **options: Any) -> Any:
        return self.client.send_task(f"pains.{task}", args, **options)

    def recorded(self) -> list[str]:
        return self.record.read_text().splitlines() if self.record.exists() else []

    def count(self, word: str) -> Counter[str]:
        """How often each name was recorded with that word."""
        return Counter(line.split()[1] for line in self.recorded() if line.startswith(f"{word} "))

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        if self.side == "celery" and self._client is not None:
            # Results unsubscribe when they are collected, and would wait for ever for a Redis that is gone.
            self._client.backend.remove_pending_result = lambda result: result
            self._client.close()
