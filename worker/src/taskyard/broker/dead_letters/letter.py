"""One dead letter, read from what our workers, or RabbitMQ itself, write into its headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from taskyard.broker.envelope import DEATH
from taskyard.message.history import DELIVERY_HEADERS


@dataclass(slots=True, frozen=True)
class DeadLetter:
    """A message in a dead-letter queue."""

    #: Id of the task, or of the message where it is none.
    id: str
    #: The dead-letter queue that it lies in.
    queue: str
    #: The queue that it comes from, None where nobody knows.
    origin: str | None
    task: str | None
    reason: str
    #: When it died, unix seconds.
    time: float | None
    #: How often it was delivered.
    deliveries: int | None
    headers: Mapping[str, Any]
    body: bytes
    content_type: str | None
    content_encoding: str | None
    properties: Mapping[str, Any]

    def summary(self) -> dict[str, Any]:
        """What a list shows."""
        when = None if self.time is None else datetime.fromtimestamp(self.time, UTC).isoformat()
        return {
            "id": self.id,
            "task": self.task,
            "queue": self.origin,
            "deadLetterQueue": self.queue,
            "reason": self.reason,
            "time": when,
            "deliveries": self.deliveries,
            "bytes": len(self.body),
        }

    def details(self) -> dict[str, Any]:
        """Everything, as JSON can say it; the body as text, or else in hexadecimal."""
        try:
            body = self.body.decode()
        except UnicodeDecodeError:
            body = self.body.hex()
        return {
            **self.summary(),
            "contentType": self.content_type,
            "contentEncoding": self.content_encoding,
            "headers": dict(self.headers),
            "body": body,
        }


def read_letter(
    queue: str,
    headers: Mapping[str, Any],
    body: bytes,
    content_type: str | None,
    content_encoding: str | None,
    properties: Mapping[str, Any],
    message_id: str,
) -> DeadLetter:
    """A dead letter from a message's parts; `message_id` names it where it is no task."""
    own = headers.get(DEATH)
    native = headers.get("x-death")
    if isinstance(own, Mapping):
        origin, reason = own.get("queue"), own.get("reason")
        when, deliveries = own.get("time"), own.get("deliveries")
    elif isinstance(native, list) and native and isinstance(native[0], Mapping):
        origin, reason = native[0].get("queue"), native[0].get("reason")
        when, deliveries = native[0].get("time"), native[0].get("count")
    else:
        origin = reason = when = deliveries = None
    if isinstance(when, datetime):
        when = when.replace(tzinfo=when.tzinfo or UTC).timestamp()
    task = headers.get("task")
    return DeadLetter(
        str(headers.get("id") or message_id),
        queue,
        str(origin) if origin else None,
        task if isinstance(task, str) else None,
        str(reason or "unknown"),
        float(when) if isinstance(when, (int, float)) else None,
        deliveries if isinstance(deliveries, int) else None,
        headers,
        body,
        content_type,
        content_encoding,
        properties,
    )


def revived_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers of a message that begins anew."""
    return {name: value for name, value in headers.items() if name not in DELIVERY_HEADERS}


def revive(envelope: dict[str, Any], queue: str) -> dict[str, Any]:
    """An envelope of kombu's virtual transports on its way back into a queue."""
    properties = {key: value for key, value in envelope["properties"].items() if key != "delivery_info"}
    properties["delivery_info"] = {"exchange": "", "routing_key": queue}
    return {
        **envelope,
        "headers": revived_headers(envelope.get("headers") or {}),
        "properties": properties,
    }
