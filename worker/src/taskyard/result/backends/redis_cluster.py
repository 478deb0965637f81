"""Results in a Redis cluster: rediscluster://host:7000/?startup=other:7001,third:7002.

A chord's keys would lie on different nodes: chords are polled here (celery.chord_unlock).
"""

from __future__ import annotations

import os
from importlib.resources import files
from typing import Any

from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ClusterDownError, ClusterError, RedisClusterException

from taskyard.errors import ImproperlyConfigured
from taskyard.result.backends.redis import RedisBackend
from taskyard.result.chords import ChordSupport
from taskyard.result.key_value import KeyValueBackend
from taskyard.result.redis_connection import cluster_parameters
from taskyard.result.states import SUCCESS


class RedisClusterBackend(RedisBackend):
    """Each result lies on the node of its key; announcements reach every node."""

    connection_errors = (
        *RedisBackend.connection_errors,
        ClusterDownError,
        ClusterError,
        RedisClusterException,
    )

    @property
    def client(self) -> Any:
        """redis-py's client of this process."""
        if self._pid != os.getpid():
            url = (self.url or "").replace("rediscluster", "redis", 1)
            nodes, parameters = cluster_parameters(url, self.app.conf)
            if parameters.pop("db", 0):
                raise ImproperlyConfigured("a Redis cluster has no databases but 0: leave the number out")
            startup = [ClusterNode(host, port) for host, port in nodes]  # type: ignore[no-untyped-call]
            self._client = RedisCluster(startup_nodes=startup, **parameters)
            source = files("taskyard.result").joinpath("store.lua").read_bytes()
            self._script = self._client.register_script(source)
            self._pid = os.getpid()
        return self._client

    def watcher(self) -> None:
        """Coroutines look from time to time."""

    def mget(self, keys: list[str]) -> list[Any]:
        """The bytes of each key, from whichever node."""
        values: list[Any] = self.ensure(lambda: self.client.mget_nonatomic(keys)) if keys else []
        return values

    def set(self, key: str, value: bytes, expires: float | None = None) -> None:
        """Store and announce."""
        life = int((self.expires if expires is None else expires) or 0)
        self.ensure(lambda: self._set_and_tell(key, value, life))

    def _set_and_tell(self, key: str, value: bytes, life: int) -> None:
        self.client.set(key, value, ex=life or None)
        self.client.publish(key, value)

    def _set_unless_success(self, key: str, value: bytes, life: int) -> None:
        known = self.client.get(key)
        if not known or self.decode(known).get("status") != SUCCESS:
            self._set_and_tell(key, value, life)

    apply_chord = KeyValueBackend.apply_chord
    on_chord_part_return = KeyValueBackend.on_chord_part_return
    set_chord_size = ChordSupport.set_chord_size
    add_to_chord = ChordSupport.add_to_chord  # type: ignore[assignment]
