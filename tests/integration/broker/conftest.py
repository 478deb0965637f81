"""A Redis server for the module, emptied for each test, and connections that are closed after it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from kombu import Connection

from tests.brokers.redis import RedisServer

OURS = "taskyard.broker.redis:Transport"

Connect = Callable[..., Connection]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
def store(server: RedisServer) -> Iterator[Any]:
    client = redis.Redis(port=server.port)
    client.flushall()
    client.config_set("maxmemory", 0)
    yield client
    client.close()


@pytest.fixture
def connect(server: RedisServer, store: Any) -> Iterator[Connect]:
    opened: list[Connection] = []

    def make(transport: str = OURS, url: str | None = None, **options: Any) -> Connection:
        connection = Connection(url or server.url, transport=transport, transport_options=options)
        opened.append(connection)
        return connection

    yield make
    for connection in opened:
        connection.close()
