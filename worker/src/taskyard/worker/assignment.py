"""From a message in the worker's hands to a job for the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskyard.execution.job import Job
from taskyard.result.chord_parts import Brought

if TYPE_CHECKING:
    from taskyard.result.chord_parts import Part
    from taskyard.worker.held import Held

#: Properties that say nothing to a task, or are handed to it elsewhere; all others are the sender's own.
_TRANSPORTS_OWN = frozenset(
    {
        "body_encoding",
        "content_encoding",
        "content_type",
        "correlation_id",
        "delivery_info",
        "delivery_mode",
        "delivery_tag",
        "priority",
        "reply_to",
    }
)


def job_of(held: Held, *, events: bool) -> Job:
    """The job; with `events` its outcome is to carry what task events say of it."""
    delivery, envelope = held.delivery, held.envelope
    sent = delivery.properties
    properties = {"correlation_id": sent.get("correlation_id"), "reply_to": sent.get("reply_to")}
    if not sent.keys() <= _TRANSPORTS_OWN:
        for name in sent.keys() - _TRANSPORTS_OWN:
            properties[name] = sent[name]
    if sent.get("delivery_mode", 2) != 2:
        properties["delivery_mode"] = sent["delivery_mode"]
    if events:
        properties["events"] = True
    return Job(
        held.seq,
        envelope.name,
        envelope.id,
        delivery.body,
        delivery.content_type,
        delivery.content_encoding,
        delivery.headers,
        properties,
        _delivery_info(held),
    )


def brought_by(held: Held, part: Part) -> Brought:
    """The part of a chord that a message has brought."""
    delivery = held.delivery
    return Brought(part, held.envelope.name, delivery.headers, delivery.properties, _delivery_info(held))


def _delivery_info(held: Held) -> dict[str, Any]:
    delivery = held.delivery
    return {
        "exchange": delivery.exchange,
        "routing_key": delivery.routing_key,
        "priority": delivery.properties.get("priority"),
        "redelivered": delivery.redelivered or held.envelope.deliveries > 0,
    }
