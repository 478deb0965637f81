"""The brokers of a run: one Redis and one RabbitMQ, made empty before each measurement."""

import socket
import statistics
from time import perf_counter
from typing import Protocol

import redis

from benchmarks.process_tree import cpu_of, family
from tests.brokers.rabbitmq import RabbitMQServer
from tests.brokers.redis import RedisServer

_PUSHES = 2_000


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

    def push_us(self) -> float:
        """Microseconds that one LPUSH of 1 kB takes with its reply, on a socket without any client: the pace.

        What others do on the host of a virtual machine shows here, and nowhere in the machine itself.
        """
        body = b"x" * 1000
        command = b"*3\r\n$5\r\nLPUSH\r\n$4\r\npace\r\n$%d\r\n%b\r\n" % (len(body), body)
        times = []
        with socket.create_connection(("127.0.0.1", self._server.port)) as bare:
            bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(_PUSHES):
                began = perf_counter()
                bare.sendall(command)
                bare.recv(64)
                times.append(perf_counter() - began)
        self._client.delete("pace")
        return statistics.median(times) * 1e6

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
