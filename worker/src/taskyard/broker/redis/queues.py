"""Publishing, queues and broadcasts on Redis: kombu's way, with one client for all commands."""

import logging
from functools import cached_property
from typing import Any

from kombu.transport import redis as kombu_redis

from taskyard.broker.envelope import Envelope, dumps
from taskyard.broker.redis.names import Names, names_for
from taskyard.message.identity import new_id

logger = logging.getLogger(__name__)


class QueueChannel(kombu_redis.Channel):  # type: ignore[misc]
    """kombu's channel, as far as it does not consume from queues."""

    socket_timeout = 15.0
    """Seconds after which a command fails; kombu waits for ever for a server that does not answer."""

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        self._client_of_pool: Any = None
        self._plain_client: Any = None
        self._declared: set[str] = set()
        super().__init__(connection, **kwargs)

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)
        if self._client_of_pool is None:
            self._client_of_pool = super()._create_client()
        return self._client_of_pool

    @property
    def client(self) -> Any:
        """The client for commands; consuming does not use it."""
        return self._create_client()

    @property
    def plain(self) -> Any:
        """A client that adds no prefix: its user names whole keys."""
        if self._plain_client is None:
            self._plain_client = kombu_redis.redis.Redis(connection_pool=self.pool)
        return self._plain_client

    def _disconnect_pools(self) -> None:
        self._client_of_pool = self._plain_client = None
        super()._disconnect_pools()

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        parameters: dict[str, Any] = super()._connparams(asynchronous=asynchronous)
        if parameters.get("socket_connect_timeout", 0) is None:
            parameters["socket_connect_timeout"] = self.connection.client.connect_timeout or None
        return parameters

    @cached_property
    def names(self) -> Names:
        """The names of the keys that this channel uses."""
        return names_for(self.connection.client.transport_options)

    def list_of(self, queue: str, envelope: Envelope) -> bytes:
        """The list that a message of a queue belongs to."""
        return self.names.list_for(queue, self._get_message_priority(envelope, reverse=False))

    def _deliver_fanout_message(self, message: Any, exchange: str) -> Any:
        if exchange not in self._fanout_to_queue:
            return False  # it was on its way when the consumer was cancelled
        return super()._deliver_fanout_message(message, exchange)

    def _delete_own_broadcast_queues(self, transport: Any) -> None:
        for queue in self.auto_delete_queues & set(self._fanout_queues):
            try:
                self.queue_delete(queue)
            except transport.connection_errors as error:
                logger.debug("the bindings of %r are left to expire: %s", queue, error)

    def _put(self, queue: str, message: Envelope, **kwargs: Any) -> None:
        batch = kwargs.get("_publish_batch")
        if queue in self._expires or (batch is not None and not hasattr(batch, "push")):
            super()._put(queue, message, **kwargs)
        elif batch is not None:
            batch.push(self.list_of(queue, message), dumps(message))
        else:
            self.plain.execute_command("LPUSH", self.list_of(queue, message), dumps(message))

    def _next_delivery_tag(self) -> str:
        return new_id()

    def _size(self, queue: str) -> int:
        pipeline = self.plain.pipeline(transaction=False)
        for key in self.names.lists(queue):
            pipeline.llen(key)
        return sum(pipeline.execute())

    def _purge(self, queue: str) -> int:
        pipeline = self.plain.pipeline()
        keys = self.names.lists(queue)
        for key in keys:
            pipeline.llen(key)
        pipeline.delete(*keys)
        return sum(pipeline.execute()[:-1])

    def _new_queue(self, queue: str, auto_delete: bool = False, **kwargs: Any) -> None:
        self._declared.add(queue)
        super()._new_queue(queue, auto_delete=auto_delete, **kwargs)

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        """Whether it was declared here, holds or awaits messages, or is bound to its own exchange."""
        if queue in self._declared:
            return True
        names = self.names
        binding = (self.global_keyprefix + self.keyprefix_queue % queue).encode()
        return bool(self.plain.exists(*names.lists(queue), names.schedule(queue), binding))

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any
    ) -> None:
        """Delete a queue's bindings as kombu does, its lists and schedule wherever it was declared."""
        if if_empty and self._size(queue):
            return
        super().queue_delete(queue, if_unused=if_unused, **kwargs)
        self._declared.discard(queue)
        self.plain.delete(*self.names.lists(queue), self.names.schedule(queue))
