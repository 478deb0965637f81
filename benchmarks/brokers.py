"""The brokers of a run: one Redis and one RabbitMQ, made empty before each measurement."""

from typing import Protocol

import redis

from benchmarks.process_tree import cpu_of, family
from tests.brokers.rabbitmq import RabbitMQServer
from tests.brokers.redis import RedisServer


class Broker(Protocol):
    """What a measurement needs."""

    @property
    def results(self) -> str:
        """The URL of the Redis for results."""

    def empty(self) -> str:
        """Forget everything; returns the URL."""

    def cpu(self) -> float:
        """Seconds of processor time that the server has used."""


class Redis:
    """A Redis server; results go to its database 1."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._client = redis.Redis(port=server.port)

    @property
    def results(self) -> str:
        return self._server.url.removesuffix("/0") + "/1"

    def empty(self) -> str:
        self._client.flushall()
        return self._server.url

    def cpu(self) -> float:
        return cpu_of(self._server.pid)

    def version(self) -> str:
        found: dict[str, str] = self._client.info("server")
        return found["redis_version"]


class RabbitMQ:
    """A RabbitMQ node with a virtual host for each measurement; results go to a Redis."""

    def __init__(self, server: RabbitMQServer, results: Redis) -> None:
        self._server = server
        self._results = results
        self._number = 0

    @property
    def results(self) -> str:
        return self._results.results

    def empty(self) -> str:
        self._results.empty()
        if self._number:
            self._server.ctl("delete_vhost", f"bench-{self._number}")
        self._number += 1
        name = f"bench-{self._number}"
        self._server.ctl("add_vhost", name)
        self._server.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return self._server.url(name)

    def cpu(self) -> float:
        return sum(map(cpu_of, family(self._server.pid)))

    def version(self) -> str:
        return self._server.ctl("version").strip()
