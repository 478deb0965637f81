"""The JSON that kombu's virtual transports put on the wire, and what Taskyard adds to it.

An envelope is ``{"body", "content-type", "content-encoding", "headers", "properties"}`` as
``kombu.transport.virtual.Channel.prepare_message`` makes it. Any JSON text of that shape is read; what is
written means the same to every version of kombu.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from time import time
from typing import Any, Final

import msgspec

COUNT: Final = "x-delivery-count"
"""Header: how many earlier deliveries ended with a lost worker; absent when none did."""

DEATH: Final = "x-taskyard-death"
"""Header of a dead letter: ``{"reason", "queue", "time", "deliveries"}``, time in unix seconds."""

Envelope = dict[str, Any]

_decode = msgspec.json.Decoder().decode
#: For values of which `is_plain` is true.
encode_plain = msgspec.json.Encoder().encode
_TYPED = b'"__type__"'
"""kombu's JSON marks dates, UUIDs and the like by this key; only its own decoder revives them."""

_LONG: Final = 2000
"""Bytes from which on it is worth the while to look at less than all."""

_TEXT: Final = {str}
_ATOMS: Final = frozenset({str, int, bool, type(None)})


class UnreadableMessageError(ValueError):
    """What stood in a queue is no message of kombu's."""


def loads(text: bytes) -> Any:
    """Decode JSON as kombu does; raises ``ValueError`` for anything else."""
    if _TYPED not in text:
        try:
            return _decode(text)
        except ValueError:
            pass  # NaN, lone surrogates: kombu's decoder takes more than the standard allows
    from kombu.utils import json as kombu_json

    return kombu_json.loads(text)


def dumps(value: object) -> bytes:
    """Encode as kombu does, by the fast way where both agree."""
    if is_plain(value):
        try:
            return encode_plain(value)
        except (TypeError, ValueError, OverflowError):
            pass
    from kombu.utils import json as kombu_json

    text: str = kombu_json.dumps(value)
    return text.encode()


def is_plain(value: object) -> bool:
    """Whether the value consists of JSON's own types, which every encoder writes alike."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is dict:
        if not value:
            return True
        if set(map(type, value)) != _TEXT:  # type: ignore[call-overload]
            return False
        for item in value.values():  # type: ignore[attr-defined]  # noqa: SIM110  a generator costs more
            if type(item) not in _ATOMS and not is_plain(item):
                return False
        return True
    if kind is list or kind is tuple:
        return set(map(type, value)) <= _ATOMS or all(map(is_plain, value))  # type: ignore[call-overload]
    return kind is float and isfinite(value)  # type: ignore[arg-type]


class Opened(msgspec.Struct, rename={"content_type": "content-type", "content_encoding": "content-encoding"}):
    """A sound envelope, read in one go; a body in base64 is bytes already."""

    properties: dict[str, Any]
    body: Any = None
    headers: dict[str, Any] | None = None
    content_type: str | None = None
    content_encoding: str | None = None


class _Closed(Opened):
    body: msgspec.Raw = msgspec.Raw(b"null")


_open = msgspec.json.Decoder(_Closed).decode
_decode_base64 = msgspec.json.Decoder(bytes).decode
_decode_text = msgspec.json.Decoder(str | None).decode


def opened(text: bytes) -> Opened | None:
    """Read an envelope in one go; None where `parse` is to have a closer look."""
    if has_types(text):
        return None
    try:
        envelope: Opened = _open(text)
        properties = envelope.properties
        decode = _decode_base64 if properties.get("body_encoding") == "base64" else _decode_text
        envelope.body = decode(envelope.body)
    except (ValueError, RecursionError):
        return None
    return envelope if type(properties.get("delivery_tag")) is str else None


def has_types(text: bytes) -> bool:
    """Whether some of kombu's typed values is in an envelope."""
    if len(text) < _LONG or not text.startswith(b'{"body"'):
        return _TYPED in text
    # The body comes first, and what has no quotes need not be searched.
    first = text.find(b'"', 7)
    return text.startswith(_TYPED, first) or text.find(_TYPED, text.find(b'"', first + 1)) >= 0


def parse(text: bytes) -> Envelope:
    """Decode one envelope and check what every reader relies on; raises ``UnreadableMessageError``."""
    try:
        envelope = loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableMessageError(f"not JSON: {error}") from None
    flaw = flaw_of(envelope)
    if flaw:
        raise UnreadableMessageError(flaw)
    return envelope  # type: ignore[no-any-return]


def flaw_of(envelope: object) -> str | None:
    """Why no consumer could read the envelope, or None."""
    if type(envelope) is not dict:
        return f"the envelope is a JSON {type(envelope).__name__}, not an object"
    properties = envelope.get("properties")
    if type(properties) is not dict:
        return "the envelope has no properties"
    if type(properties.get("delivery_tag")) is not str:
        return "the properties have no delivery_tag"
    headers = envelope.get("headers")
    if headers is not None and type(headers) is not dict:
        return "the headers are not an object"
    info = properties.get("delivery_info")
    if info is not None and type(info) is not dict:
        return "the delivery_info is not an object"
    return None


def delivery_count(envelope: Mapping[str, Any]) -> int:
    """How many earlier deliveries of the message ended with a lost worker."""
    count = (envelope.get("headers") or {}).get(COUNT, 0)
    return count if type(count) is int and count > 0 else 0


def mark_redelivered(envelope: Envelope, *, lost: bool = False) -> Envelope:
    """Mark as kombu marks what it restores; with ``lost`` one more delivery counts as lost."""
    headers = envelope.get("headers") or {}
    headers["redelivered"] = True
    if lost:
        headers[COUNT] = delivery_count(envelope) + 1
    envelope["headers"] = headers
    info = envelope["properties"].get("delivery_info") or {}
    info["redelivered"] = True
    envelope["properties"]["delivery_info"] = info
    return envelope


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Where the messages of a queue go that cannot be delivered.

    ``max_deliveries`` is how often a message is delivered at most when its workers get lost; 0 is no limit.
    """

    queue: str
    max_deliveries: int = 5

    def exhausted(self, count: int) -> bool:
        """Whether ``count`` lost deliveries are all that a message gets."""
        return 0 < self.max_deliveries <= count

    def bears(self, count: int) -> bool:
        """Whether a broker that counts by itself may count one more for nothing: two are left then."""
        return self.max_deliveries == 0 or count + 3 <= self.max_deliveries


def dead_letters(options: Mapping[str, Any] | None, queue: str) -> DeadLetters:
    """The rule for a queue out of the transport option ``dead_letters``.

    The option maps queue names to ``{"queue": name, "maxDeliveries": number}``; ``"*"`` is for all others.
    Without a rule a message is delivered at most five times and then goes to ``<queue>.dead``.
    """
    rules = options or {}
    rule = rules.get(queue) or rules.get("*") or {}
    name = rule.get("queue") if queue in rules else None
    return DeadLetters(name or f"{queue}.dead", int(rule.get("maxDeliveries") or 0) if rule else 5)


def death_of(reason: str, queue: str, deliveries: int) -> dict[str, Any]:
    """The value of the header that makes a message a dead letter."""
    return {"reason": reason, "queue": queue, "time": time(), "deliveries": deliveries}


def dead(envelope: Envelope, *, reason: str, queue: str, target: str, delivered: bool = True) -> Envelope:
    """Turn an envelope into an ordinary message of the dead-letter queue ``target``."""
    headers = envelope.get("headers") or {}
    headers[DEATH] = death_of(reason, queue, delivery_count(envelope) + (1 if delivered else 0))
    envelope["headers"] = headers
    # kombu restores an unacknowledged message to where delivery_info says: it must be the dead-letter queue.
    envelope["properties"]["delivery_info"] = {"exchange": "", "routing_key": target}
    return envelope


def wrapped(text: bytes, tag: str) -> Envelope:
    """An envelope around something that is none, so that it can lie in a dead-letter queue."""
    return {
        "body": base64.b64encode(text).decode(),
        "content-encoding": "binary",
        "content-type": "application/octet-stream",
        "headers": {},
        "properties": {
            "body_encoding": "base64",
            "delivery_info": {},
            "delivery_mode": 2,
            "delivery_tag": tag,
            "priority": 0,
        },
    }
