"""A Redis for the client's tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.brokers.redis import RedisServer

_databases = itertools.count(1)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer(options=["--databases", "100"]) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    return f"redis://127.0.0.1:{redis_server.port}/{next(_databases)}"
