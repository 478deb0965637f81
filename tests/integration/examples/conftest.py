"""Servers for the examples, and workers and scripts in an example's folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.brokers.redis import RedisServer
from tests.harness.program import ROOT, Program, worker


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def environment(redis_server: RedisServer, tmp_path: Path) -> dict[str, str]:
    return {
        "REDIS_URL": redis_server.url,
        "DATABASE": str(tmp_path / "db.sqlite3"),
        "MAILS": str(tmp_path / "mails"),
    }


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """start("django", "shop", "-Q", ...): a worker for that app in that example's folder."""
    with ExitStack() as stack:

        def begin(example: str, app: str, *arguments: str) -> Program:
            program = worker(app, ROOT / "examples" / example, tmp_path, *arguments, environment=environment)
            stack.callback(program.stop)
            return program

        yield begin


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., str]:
    """Run Python lines, or arguments for the interpreter, in an example's folder."""

    def execute(example: str, *arguments: str) -> str:
        command = arguments if len(arguments) > 1 else ("-c", *arguments)
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT / "examples" / example,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return execute
