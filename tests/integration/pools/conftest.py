"""Workers with other pools, options and steps than the usual ones; one Redis for all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskyard import App
from tests.brokers.redis import RedisServer
from tests.integration.worker.harness import WorkerProcess

APPS = Path(__file__).parent / "apps"
_databases = itertools.count(1)

#: Starts `taskyard -A APP worker ARGUMENTS`.
Start = Callable[..., WorkerProcess]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer(options=["--databases", "500"]) as server:
        yield server


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    return f"redis://127.0.0.1:{redis_server.port}/{next(_databases)}"


@pytest.fixture
def client(url: str) -> App:
    return App("client", broker=url, backend=url)


@pytest.fixture
def start(tmp_path: Path, url: str) -> Iterator[Start]:
    """Start workers by hand; they end with the test."""
    workers: list[WorkerProcess] = []

    def start(*arguments: str, app: str = "pooltasks", ready: bool = True, **options: Any) -> WorkerProcess:
        environment = {"PYTHONPATH": str(APPS), **options.pop("environment", {})}
        options.setdefault("name", f"w{len(workers)}")
        options.setdefault("backend", url)
        worker = WorkerProcess(tmp_path, url, *arguments, environment=environment, **options)
        worker.command[worker.command.index("jobs")] = app
        workers.append(worker)
        return worker.start(ready)

    yield start
    for worker in workers:
        worker.close()
