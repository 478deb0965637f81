"""Brokers for all tests of the worker, and workers for each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import pytest

from taskyard import App
from tests.brokers.rabbitmq import RabbitMQServer
from tests.brokers.redis import RedisServer
from tests.brokers.vhost import Vhost
from tests.integration.worker.harness import Broker, StartWorker, WorkerProcess

_databases = itertools.count(1)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer(options=["--databases", "500"]) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQServer]:
    with RabbitMQServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    return f"redis://127.0.0.1:{redis_server.port}/{next(_databases)}"


@pytest.fixture
def vhost(rabbitmq_server: RabbitMQServer) -> Iterator[Vhost]:
    """A virtual host with the RabbitMQ server's API."""
    vhost = Vhost(rabbitmq_server)
    yield vhost
    vhost.delete()


@pytest.fixture
def amqp_url(vhost: Vhost) -> str:
    return vhost.url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/broker.db"


@pytest.fixture(
    params=[
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("amqp", marks=pytest.mark.rabbitmq),
        pytest.param("sqlite", marks=pytest.mark.redis),
    ]
)
def broker(request: pytest.FixtureRequest, redis_server: RedisServer) -> Broker:
    """Each broker with a result store in Redis."""
    backend = f"redis://127.0.0.1:{redis_server.port}/{next(_databases)}"
    url = request.getfixturevalue(f"{request.param}_url")
    return Broker(request.param, url, backend)


@pytest.fixture
def redis_broker(redis_url: str) -> Broker:
    return Broker("redis", redis_url, redis_url)


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Start workers by hand; they end with the test."""
    workers: list[WorkerProcess] = []

    def start(broker: Broker, *arguments: str, ready: bool = True, **options: Any) -> WorkerProcess:
        options.setdefault("backend", broker.backend)
        options.setdefault("name", f"w{len(workers)}")
        worker = WorkerProcess(tmp_path, broker.url, *(arguments or ("-c", "2")), **options)
        workers.append(worker)
        return worker.start(ready)

    yield start
    for worker in workers:
        worker.close()


@pytest.fixture
def celery_client(broker: Broker) -> Iterator[celery.Celery]:
    """A real Celery client on the same broker and result store."""
    client = celery.Celery("client", broker=broker.url, backend=broker.backend, set_as_current=False)
    yield client
    client.close()


@pytest.fixture
def client(broker: Broker) -> App:
    """Our own client."""
    return App("client", broker=broker.url, backend=broker.backend)


@pytest.fixture
def amqp_broker(amqp_url: str, redis_server: RedisServer) -> Broker:
    return Broker("amqp", amqp_url, f"redis://127.0.0.1:{redis_server.port}/{next(_databases)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Celery has no SQLite broker: tests with a real Celery do not exist for it."""
    items[:] = [item for item in items if not ("[sqlite]" in item.name and "celery" in _uses(item))]


def _uses(item: pytest.Item) -> str:
    return " ".join(["celery" if "celery_worker" in item.name else "", *getattr(item, "fixturenames", ())])
