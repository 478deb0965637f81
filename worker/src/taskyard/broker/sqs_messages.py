"""Messages as SQS has them: base64 of kombu's JSON envelope, and a count of how often each was received."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from taskyard.broker.delivery import Delivery
from taskyard.broker.envelope import COUNT, UnreadableMessageError, parse
from taskyard.broker.sqs_threads import Tag

if TYPE_CHECKING:
    from taskyard.broker.sqs import SqsLink


def read_message(link: SqsLink, queue: str, raw: dict[str, Any]) -> Delivery:
    """The delivery; UnreadableMessageError for what is no message of kombu's."""
    envelope = parse(_text(raw["Body"]))
    properties = envelope["properties"]
    headers = envelope.get("headers") or {}
    received = int((raw.get("Attributes") or {}).get("ApproximateReceiveCount", 1))
    if received > 1:
        headers[COUNT] = max(received - 1, headers.get(COUNT) or 0)
    body = envelope.get("body") or b""
    if properties.get("body_encoding") == "base64":
        try:
            body = base64.b64decode(body)
        except ValueError as error:
            raise UnreadableMessageError(f"the body is no base64: {error}") from None
    info = properties.get("delivery_info") or {}
    group = (raw.get("Attributes") or {}).get("MessageGroupId")
    return Delivery(
        link,
        Tag(queue, raw["ReceiptHandle"], group),
        queue,
        headers,
        properties,
        body,
        envelope.get("content-type"),
        envelope.get("content-encoding"),
        info.get("exchange") or "",
        info.get("routing_key") or queue,
        received > 1,
    )


def _text(body: str) -> bytes:
    """The JSON of a message, which kombu puts into base64 unless it is told not to."""
    raw = body.strip().encode()
    if not raw.startswith(b"{"):
        try:
            return base64.b64decode(raw, validate=True)
        except ValueError:
            pass
    return raw


def envelope_of(delivery: Delivery) -> dict[str, Any]:
    """What a copy of the message is made of."""
    body = delivery.body if isinstance(delivery.body, bytes) else delivery.body.encode()
    return {
        "body": base64.b64encode(body).decode(),
        "content-type": delivery.content_type,
        "content-encoding": delivery.content_encoding,
        "headers": {name: value for name, value in delivery.headers.items() if name != COUNT},
        "properties": {**delivery.properties, "body_encoding": "base64"},
    }
