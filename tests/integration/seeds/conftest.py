"""Servers for the programs that Celery's users write, and a way to run such a program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.brokers.rabbitmq import RabbitMQServer
from tests.brokers.redis import RedisServer
from tests.harness.program import Program, worker

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQServer]:
    with RabbitMQServer() as server:
        yield server


@pytest.fixture
def environment(redis_server: RedisServer, tmp_path: Path) -> dict[str, str]:
    """Redis for everything; a test may put RabbitMQ in the broker's place."""
    return {
        "BROKER": redis_server.url,
        "RESULTS": redis_server.url,
        "DATABASE": str(tmp_path / "db.sqlite3"),
        "MAILS": str(tmp_path / "mails"),
        "PYTHONPATH": str(PROGRAMS),
    }


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Program]]:
    with ExitStack() as stack:

        def begin(app: str, *arguments: str) -> Program:
            program = worker(app, PROGRAMS, tmp_path, *arguments, environment=environment)
            stack.callback(program.stop)
            return program

        yield begin


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., str]:
    """Run a program's lines (or a command) beside the programs; returns what it printed."""

    def execute(text: str, *command: str) -> str:
        done = subprocess.run(
            list(command) or [sys.executable, "-c", text],
            cwd=PROGRAMS,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return execute
