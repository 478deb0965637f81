"""A worker process under test, and what the tests ask of it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.brokers.ports import free_ports

APPS = Path(__file__).parent / "apps"
TOKEN = "open sesame"


def wait_until(condition: Callable[[], Any], timeout: float = 60.0, what: str = "condition") -> Any:
    """The first true value of the condition; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} not within {timeout} s"
        time.sleep(0.02)


def freeze(pid: int) -> None:
    """Stop a process and wait until it stands still: on a busy machine its threads run on for a while after
    the signal was sent. SIGCONT wakes it up.
    """
    os.kill(pid, signal.SIGSTOP)
    threads = Path(f"/proc/{pid}/task")

    def stopped() -> bool:
        try:
            texts = [stat.read_text() for stat in threads.glob("*/stat")]
        except OSError:
            return False  # a thread ended meanwhile
        return all(text.rpartition(")")[2].split()[0] == "T" for text in texts)

    wait_until(stopped, what=f"all threads of {pid} stopped")


@dataclass
class Broker:
    """Where a test's messages go, and where its results."""

    kind: str
    url: str
    backend: str


class WorkerProcess:
    """`taskyard worker` with an endpoint, a log and a record of what ran."""

    def __init__(
        self,
        directory: Path,
        broker: str,
        *arguments: str,
        backend: str | None = None,
        environment: dict[str, str] | None = None,
        name: str = "w",
    ) -> None:
        self.directory = directory
        self.record = directory / "record"
        self.log = directory / f"log-{name}"
        (self.port,) = free_ports(1)
        token = directory / "token"
        token.write_text(TOKEN + "\n")
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(APPS),
            "TASKYARD_BROKER_URL": broker,
            "TASKYARD_HTTP": f"127.0.0.1:{self.port}",
            "TASKYARD_TOKEN_FILE": str(token),
            "TASKYARD_NODENAME": name,
            "RECORD": str(self.record),
            **({"TASKYARD_RESULT_BACKEND": backend} if backend else {}),
            **(environment or {}),
        }
        self.command = [sys.executable, "-m", "taskyard.cli.main", "-A", "jobs", "worker"]
        self.command += ["--loglevel", "info", *arguments]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, ready: bool = True) -> WorkerProcess:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, cwd=self.directory
            )
        if ready:
            wait_until(lambda: self.ended() or self.get("/readyz")[0] == 200, what="worker ready")
            assert not self.ended(), self.text()
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def children(self) -> list[int]:
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(each) for each in text.split()]

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        return self.request("GET", path)

    def request(self, method: str, path: str, token: str | None = TOKEN) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", method=method, headers=headers
        )
        try:
            try:
                with urllib.request.urlopen(request, timeout=90) as answer:
                    status, body = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                status, body = error.code, error.read()
        except (OSError, http.client.HTTPException):
            return 0, {}
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body.decode()

    def state(self) -> dict[str, Any]:
        return self.get("/state")[1]

    def drain(self) -> dict[str, Any]:
        return self._command("/drain")

    def resume(self) -> dict[str, Any]:
        return self._command("/resume")

    def _command(self, path: str) -> dict[str, Any]:
        status, state = self.request("POST", path)
        assert status == 200, state
        assert isinstance(state, dict)
        return state

    def open_gate(self) -> None:
        """Let the tasks that wait go on, and those that begin not wait at all."""
        Path(f"{self.record}-gate").touch()

    def ran(self) -> list[str]:
        return self.record.read_text().splitlines() if self.record.exists() else []

    def count(self) -> Counter[str]:
        return Counter(self.ran())

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout: float = 60) -> int:
        assert self.process is not None
        return self.process.wait(timeout)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        if not self.ended():
            assert self.process is not None
            self.process.kill()
            self.process.wait(30)


class StartWorker(Protocol):
    """What the fixture `start_worker` gives: a started worker, ready unless asked otherwise."""

    def __call__(
        self, broker: Broker, *arguments: str, ready: bool = True, **options: Any
    ) -> WorkerProcess: ...
