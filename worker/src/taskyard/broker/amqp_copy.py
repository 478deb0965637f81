"""A message as RabbitMQ delivered it, to be published once more."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from taskyard.broker.dead_letters.letter import DeadLetter
    from taskyard.broker.delivery import Delivery

#: Properties of AMQP basic messages that a copy keeps.  Not user_id: RabbitMQ refuses another user's name.
COPIED: Final = (
    "correlation_id",
    "reply_to",
    "delivery_mode",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "app_id",
)
#: What a copy for or of a dead letter keeps: it must not expire.
LASTING: Final = tuple(name for name in COPIED if name != "expiration")


def copy_of(
    message: Delivery | DeadLetter, channel: Any, headers: Mapping[str, Any], kept: Collection[str] = COPIED
) -> Any:
    """The message for the channel's `basic_publish`, with other headers."""
    properties = message.properties
    return channel.prepare_message(
        message.body,
        priority=properties.get("priority"),
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        headers=headers,
        properties={name: properties[name] for name in kept if name in properties},
    )
