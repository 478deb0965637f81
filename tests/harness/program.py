"""A program under test: started with its own environment, its output kept, ended with the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.brokers.ports import free_ports

ROOT = Path(__file__).parent.parent.parent


def wait_until(condition: Callable[[], Any], timeout: float = 60.0, what: str = "condition") -> Any:
    """The first true value of the condition; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} not within {timeout} s"
        time.sleep(0.02)


class Program:
    """One process; `ready` is a URL that answers with 200 once it is there."""

    def __init__(
        self,
        command: list[str],
        directory: Path,
        log: Path,
        environment: dict[str, str] | None = None,
        ready: str | None = None,
    ) -> None:
        self.log = log
        self._ready = ready
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=directory, env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_ready(self, timeout: float = 120.0) -> None:
        wait_until(lambda: self.process.poll() is not None or self._answers(), timeout, f"{self.log} ready")
        assert self.process.poll() is None, self.text()

    def _answers(self) -> bool:
        if self._ready is None:
            return True
        try:
            with urllib.request.urlopen(self._ready, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self, number: int = signal.SIGTERM, timeout: float = 90.0) -> int:
        """End it; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(30)
        return self.process.returncode


def worker(
    app: str, directory: Path, logs: Path, *arguments: str, environment: dict[str, str] | None = None
) -> Program:
    """A `taskyard worker` of that app, which has begun to consume when this returns."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "taskyard.cli.main", "-A", app, "worker", "--loglevel", "info"]
    command += arguments
    command += ["--http", f"127.0.0.1:{port}"]
    log = logs / f"worker-{port}.log"
    program = Program(command, directory, log, environment, f"http://127.0.0.1:{port}/readyz")
    try:
        program.wait_ready()
    except BaseException:
        program.stop(signal.SIGKILL)
        raise
    return program
