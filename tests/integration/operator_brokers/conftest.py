"""Real brokers for the operator's side: one server for all tests of a process, a virtual host for each."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from taskyard_operator.brokers.address import BrokerCredentials
from taskyard_operator.brokers.connect import connect
from tests.brokers.rabbitmq import RabbitMQServer
from tests.brokers.redis import RedisServer
from tests.brokers.vhost import Vhost

T = TypeVar("T")
ORIGIN = 'key "url" of Secret "taskyard-broker"'


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQServer]:
    with RabbitMQServer(config="collect_statistics_interval = 1000\n") as server:
        yield server


@pytest.fixture
def vhost(rabbitmq_server: RabbitMQServer) -> Iterator[Vhost]:
    vhost = Vhost(rabbitmq_server)
    yield vhost
    vhost.delete()


@pytest.fixture(scope="session")
def redis_session() -> Iterator[RedisServer]:
    with RedisServer(password="secret word") as server:
        yield server


@pytest.fixture
def redis_server(redis_session: RedisServer) -> RedisServer:
    import redis

    client = redis.Redis(port=redis_session.port, password=redis_session.password)
    client.flushall()
    client.close()
    return redis_session


@pytest.fixture
def rabbitmq_url(vhost: Vhost) -> dict[str, str]:
    """The data of a broker Secret."""
    return {"url": vhost.url, "management-url": vhost.server.management_url()}


@pytest.fixture
def on_broker() -> Callable[[dict[str, str], Callable[[Any], Awaitable[T]]], T]:
    """Runs a coroutine function with a broker made from the data of a Secret."""

    def run(secret: dict[str, str], scenario: Callable[[Any], Awaitable[T]]) -> T:
        async def main() -> T:
            broker = connect(BrokerCredentials.from_secret(secret, name="taskyard-broker", key="url"))
            try:
                return await scenario(broker)
            finally:
                await broker.close()

        return asyncio.run(main())

    return run


@pytest.fixture
def eventually() -> Callable[..., Coroutine[Any, Any, Any]]:
    """Waits until a function, plain or async, returns something true."""

    async def wait(what: Callable[[], Any], seconds: float = 60.0) -> Any:
        async with asyncio.timeout(seconds):
            while True:
                found = what()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.05)

    return wait
