"""Brokers for the tests here, and clusters of workers of either side."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.brokers.rabbitmq import RabbitMQServer
from tests.brokers.redis import RedisServer
from tests.brokers.vhost import Vhost
from tests.conformance.pains.harness import Cluster, Side

_databases = itertools.count(1)

MakeCluster = Callable[..., Cluster]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer(options=["--databases", "500"]) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQServer]:
    with RabbitMQServer() as server:
        yield server


@pytest.fixture
def vhost(rabbitmq_server: RabbitMQServer) -> Iterator[Vhost]:
    vhost = Vhost(rabbitmq_server)
    yield vhost
    vhost.delete()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    return f"redis://127.0.0.1:{redis_server.port}/{next(_databases)}"


@pytest.fixture(params=["celery", "taskyard"])
def side(request: pytest.FixtureRequest) -> Side:
    """Where the pain is seen, and where it must not be."""
    found: Side = request.param
    return found


@pytest.fixture
def cluster(side: Side, redis_url: str, tmp_path: Path) -> Iterator[MakeCluster]:
    """Makes the test's cluster on Redis; its processes end with the test."""
    made: list[Cluster] = []

    def make(
        side: Side = side, broker: str = redis_url, backend: str = redis_url, **environment: str
    ) -> Cluster:
        made.append(Cluster(side, tmp_path, broker, backend, **environment))
        return made[-1]

    yield make
    for each in made:
        each.close()
