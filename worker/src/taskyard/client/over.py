"""Publishing with a kombu producer of the caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.client.router import Route
    from taskyard.message.protocol import TaskMessage
    from taskyard.settings import Settings


def publish_over(
    producer: Any,
    message: TaskMessage,
    route: Route,
    settings: Settings,
    *,
    retry: bool | None = None,
    retry_policy: dict[str, Any] | None = None,
    delivery_mode: int = 2,
    declare: Any = None,
) -> None:
    """Publish an encoded message on the producer's channel."""
    from taskyard.broker.topology import queue_called

    entities = list(declare or ())
    if route.entity is not None:
        entities.append(route.entity)
    elif route.queue is not None:
        entities.append(queue_called(route.queue))
    priority = message.priority if message.priority is not None else route.priority
    properties = dict(message.properties)
    if "expiration" in properties:  # kombu wants seconds
        properties["expiration"] = float(properties["expiration"]) / 1000
    producer.publish(
        message.body,
        exchange=route.exchange,
        routing_key=route.routing_key,
        headers=message.headers,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        serializer=None,
        compression=None,
        declare=entities,
        retry=settings.task_publish_retry if retry is None else retry,
        retry_policy={**settings.task_publish_retry_policy, **(retry_policy or {})},
        delivery_mode=delivery_mode,
        **({} if priority is None else {"priority": priority}),
        **(message.publishing or {}),
        **properties,
    )
