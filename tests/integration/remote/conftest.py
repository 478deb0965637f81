"""Workers for the tests of remote control, on each broker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import pytest

from tests.integration.remote.command_lines import celery_s, our_command_line  # noqa: F401  fixtures
from tests.integration.remote.parity import APPS, pair  # noqa: F401  fixtures
from tests.integration.worker.conftest import (  # noqa: F401  fixtures
    amqp_broker,
    amqp_url,
    broker,
    client,
    rabbitmq_server,
    redis_broker,
    redis_server,
    redis_url,
    sqlite_url,
    vhost,
)
from tests.integration.worker.harness import Broker, StartWorker, WorkerProcess


class RemoteWorker(WorkerProcess):
    """`taskyard worker` with the tasks of this directory."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.environment["PYTHONPATH"] = str(APPS)
        self.command[self.command.index("jobs")] = "remote_jobs"


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Start workers by hand; they end with the test."""
    workers: list[RemoteWorker] = []

    def start(broker: Broker, *arguments: str, ready: bool = True, **options: Any) -> WorkerProcess:  # noqa: F811
        options.setdefault("backend", broker.backend)
        options.setdefault("name", f"w{len(workers)}@test")
        worker = RemoteWorker(tmp_path, broker.url, *(arguments or ("-c", "2")), **options)
        workers.append(worker)
        return worker.start(ready)

    yield start
    for worker in workers:
        if not worker.ended() and os.environ.get("SHOW_LOGS"):
            print(worker.text())
        worker.close()


@pytest.fixture
def celery_client(broker: Broker) -> Iterator[celery.Celery]:  # noqa: F811
    """A real Celery client on the same broker and result store."""
    app = celery.Celery("client", broker=broker.url, backend=broker.backend, set_as_current=False)
    yield app
    app.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Celery has no SQLite broker: tests with a real Celery do not exist for it."""
    items[:] = [item for item in items if not ("sqlite" in item.name and _needs_celery(item))]


def _needs_celery(item: pytest.Item) -> bool:
    return "celery" in item.name.partition("[")[2] or "celery_client" in getattr(item, "fixturenames", ())
