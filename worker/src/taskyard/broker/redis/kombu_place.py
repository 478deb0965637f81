"""A Redis that takes more than a socket: reached by the connection that kombu makes with redis-py."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from taskyard.broker.redis.names import names_for
from taskyard.broker.redis.session import reply_seconds


class KombuPlace:
    """Connections with all that a kombu connection is told."""

    def __init__(self, connect: Callable[[], Any], options: Mapping[str, Any]) -> None:
        """`connect` makes kombu's connection, not yet open, which has those transport options."""
        self.names = names_for(options)
        self.reply_seconds = reply_seconds(options)
        self._connect = connect
        self._kombu: Any = None
        self._channel: Any = None

    def connection(self) -> Any:
        """One of redis-py's."""
        if self._channel is None:
            self._kombu = self._connect()
            self._channel = self._kombu.channel()
        return self._channel._get_pool().make_connection()

    def topic(self, exchange: str, routing_key: str) -> str:
        """As the channel names it."""
        return f"{self.names.prefix}{self._channel._get_publish_topic(exchange, routing_key)}"

    def close(self) -> None:
        """Close kombu's own connection, too."""
        kombu, self._kombu, self._channel = self._kombu, None, None
        if kombu is not None:
            with contextlib.suppress(Exception):
                kombu.collect()
