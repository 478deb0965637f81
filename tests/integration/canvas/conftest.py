"""A Redis server; workers of ours, of Celery's and both at once, each on queues of their own."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import pytest

from taskyard import App
from tests.brokers.redis import RedisServer

APPS = Path(__file__).parent / "apps"
WAIT = 60

#: What costs a stock worker seconds at its start.
_QUIET = ["--without-gossip", "--without-mingle", "--without-heartbeat"]

_databases = itertools.count(1)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer(options=["--databases", "100"]) as server:
        yield server


@contextlib.contextmanager
def running(url: str, directory: Path, *kinds: str, queue: str = "celery") -> Iterator[None]:
    """Workers of these kinds; they end with the block."""
    commands = {
        "taskyard": ["taskyard.cli.main", "-A", "flows", "worker", "-c", "2"],
        "celery": ["celery", "-A", "flows", "worker", "-c", "1", "-P", "solo", "-n", "stock", *_QUIET],
    }
    processes = []
    for kind in kinds:
        environment = {
            **os.environ,
            "PYTHONPATH": str(APPS),
            "FLOWS": kind,
            "FLOWS_URL": url,
            "FLOWS_QUEUE": queue,
        }
        with (directory / f"log-{kind}").open("ab") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", *commands[kind], "-Q", queue],
                    env=environment,
                    stdout=log,
                    stderr=log,
                    cwd=directory,
                )
            )
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="session")
def own(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL that a worker of ours works on."""
    url = f"redis://127.0.0.1:{redis_server.port}/{next(_databases)}"
    with running(url, tmp_path_factory.mktemp("own"), "taskyard"):
        yield url


@pytest.fixture(scope="session")
def mixed(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL that both kinds of workers work on: ours on the queue `ours`, Celery's on `theirs`."""
    url = f"redis://127.0.0.1:{redis_server.port}/{next(_databases)}"
    directory = tmp_path_factory.mktemp("mixed")
    with (
        running(url, directory, "taskyard", queue="ours"),
        running(url, directory, "celery", queue="theirs"),
    ):
        yield url


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    """A database without workers."""
    return f"redis://127.0.0.1:{redis_server.port}/{next(_databases)}"


def client_of(url: str) -> App:
    """Our client with the tasks' names."""
    return App("client", broker=url, backend=url, set_as_current=False)


def celery_client_of(url: str) -> celery.Celery:
    """Celery's."""
    return celery.Celery("client", broker=url, backend=url, set_as_current=False)


@pytest.fixture
def flows(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the tasks, as our worker sees it."""
    monkeypatch.syspath_prepend(str(APPS))
    return importlib.import_module("flows")
