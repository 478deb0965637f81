"""Workers with settings of each test's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.integration.worker.conftest import (  # noqa: F401  fixtures
    amqp_broker,
    amqp_url,
    broker,
    rabbitmq_server,
    redis_broker,
    redis_server,
    redis_url,
    sqlite_url,
    vhost,
)
from tests.integration.worker.harness import Broker, WorkerProcess

APPS = Path(__file__).parent / "apps"


class RoutingWorker(WorkerProcess):
    """`taskyard worker` with the tasks of this directory; `stock` for Celery's own worker."""

    def __init__(self, *arguments: Any, stock: bool = False, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.environment["PYTHONPATH"] = str(APPS)
        self.command[self.command.index("jobs")] = "routing_jobs"
        if stock:
            quiet = ["-P", "solo", "--without-gossip", "--without-mingle", "--without-heartbeat"]
            self.command = [sys.executable, "-m", "celery", "-A", "celery_routing", "worker", *quiet]


class StartRouted(Protocol):
    """Starts a worker with settings."""

    def __call__(
        self,
        broker: Broker | str,  # noqa: F811
        settings: dict[str, Any],
        *arguments: str,
        ready: bool = True,
        **options: Any,
    ) -> WorkerProcess: ...


@pytest.fixture
def start_routed(tmp_path: Path) -> Iterator[StartRouted]:
    """Start workers; they end with the test."""
    workers: list[WorkerProcess] = []

    def start(
        broker: Broker | str,  # noqa: F811
        settings: dict[str, Any],
        *arguments: str,
        ready: bool = True,
        **options: Any,
    ) -> WorkerProcess:
        url, backend = (broker, None) if isinstance(broker, str) else (broker.url, broker.backend)
        environment = {"SETTINGS": json.dumps(settings), **options.pop("environment", {})}
        options = {"name": f"w{len(workers)}", "backend": backend, **options}
        worker = RoutingWorker(tmp_path, url, "-P", "solo", *arguments, environment=environment, **options)
        workers.append(worker)
        return worker.start(ready)

    yield start
    for worker in workers:
        worker.close()
