"""What a link to Redis holds: from the text of a message to its delivery, and the ways out."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Collection, Mapping
from time import time
from typing import TYPE_CHECKING, Any, Final

from taskyard.broker.burial import Burial
from taskyard.broker.delivery import Delivery
from taskyard.broker.envelope import (
    COUNT,
    Envelope,
    Opened,
    UnreadableMessageError,
    delivery_count,
    dumps,
    opened,
    parse,
    wrapped,
)
from taskyard.broker.held import Held
from taskyard.broker.link import Link, OnDelivery
from taskyard.broker.redis import handover
from taskyard.broker.redis.settlement import Move, Settlements

if TYPE_CHECKING:
    from taskyard.broker.redis.intake import Taken
    from taskyard.broker.redis.lease import Lease
    from taskyard.broker.redis.names import Names
    from taskyard.broker.redis.session import Session

_NOWHERE: Final[dict[str, Any]] = {}


class _Books:
    """What is held, under the name that the dead letters know."""

    __slots__ = ("_delivered",)

    def __init__(self) -> None:
        self._delivered: dict[str, Held] = {}


class Holding(Burial, Link):
    """The part of a link to Redis that knows its messages; they are held until they are settled."""

    keeps_deliveries = True
    session: Session
    _lease: Lease

    def __init__(
        self, names: Names, queues: Collection[Any], on_delivery: OnDelivery, options: Mapping[str, Any]
    ) -> None:
        super().__init__(None, queues, on_delivery)
        self.names = names
        self.dead_letters = options.get("dead_letters") or {}
        #: Kept from an earlier link of this worker.
        self.adopted: dict[str, Held] = {}
        self.qos = _Books()
        self._held = self.qos._delivered
        self._settlements = Settlements()
        #: Tags that a joint call has acknowledged, while their deliveries are told so.
        self.acknowledged: set[str] = set()

    # -- in
    def _take_up(self, taken: Taken) -> Delivery | None:
        """The delivery, now held; None when it went to the dead letters."""
        held, tag, queue, text = self._held, taken.tag, taken.queue, taken.text
        if tag in held:
            return None  # tags are unique: this lease was lost while we worked on, and has just come back
        held[tag] = taken
        envelope = opened(text)
        try:
            if envelope is None:
                envelope = _opened(parse(text))
            delivery = self._delivery(queue, (tag, envelope))
        except UnreadableMessageError as error:
            self._bury(tag, wrapped(text, tag), f"unreadable message: {error}")
            return None
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            self._bury(tag, wrapped(text, tag), f"unreadable body: {error}")
            return None
        if COUNT in delivery.headers:
            count = delivery_count({"headers": delivery.headers})
            if count and self.rule(queue).exhausted(count):
                self._bury(tag, parse(text), f"its worker was lost {count} times", delivered=False)
                return None
        return delivery

    def _delivery(self, queue: str, raw: tuple[str, Opened]) -> Delivery:
        tag, envelope = raw
        properties = envelope.properties
        properties["delivery_tag"] = tag
        body: Any = envelope.body or b""
        if type(body) is not bytes:
            body = self._decoded(body, properties.get("body_encoding"))
        info = properties.get("delivery_info") or _NOWHERE
        return Delivery(
            self,
            tag,
            queue,
            envelope.headers or {},
            properties,
            body,
            envelope.content_type,
            envelope.content_encoding,
            info.get("exchange") or "",
            info.get("routing_key") or queue,
            bool(info.get("redelivered")),
        )

    @staticmethod
    def _decoded(body: Any, encoding: Any) -> Any:
        if encoding == "base64":
            return a2b_base64(body)
        if encoding:
            raise LookupError(f"no body encoding is called {encoding!r}")
        return body.encode() if isinstance(body, str) else body

    # -- settling
    def ack_again(self, tags: Collection[Any]) -> None:
        """Those that were still leased when this link took over."""
        for tag in self.adopted.keys() & tags:
            self._held.pop(tag, None)
            self._settlements.acks.append(tag.encode())

    def ack(self, delivery: Delivery) -> None:
        """Sent with the others of this turn."""
        tag = delivery.tag
        if self._release(tag) is not None and tag not in self.acknowledged:
            self._settlements.acks.append(tag.encode())

    def holds(self, tag: str) -> bool:
        """Whether a message is ours and not settled."""
        return tag in self._held

    def dead_letter(self, delivery: Delivery, reason: str) -> None:  # type: ignore[override]
        """In one step with the acknowledgement."""
        Burial.dead_letter(self, delivery.tag, reason)

    def _move_dead(self, tag: str, target: str, text: bytes) -> None:
        self._settlements.moves.append(Move(tag, "tail", self.names.list_for(target, 0), text))

    def requeue(self, delivery: Delivery) -> None:
        """To the head of its queue."""
        held = self._release(delivery.tag)
        if held is not None:
            self._give_back([(delivery.tag, held)])

    def requeue_counted(self, delivery: Delivery, deliveries: int) -> None:
        """To the end of its queue, with the count."""
        held = self._release(delivery.tag)
        if held is None or held.queue is None:
            return
        envelope = parse(held.text)
        envelope["headers"] = {**delivery.headers, COUNT: deliveries}  # a retry has other headers
        key = self.list_of(held.queue, envelope)
        self._settlements.moves.append(Move(delivery.tag, "tail", key, dumps(envelope)))

    def defer(self, delivery: Delivery, due: float) -> None:
        """To the schedule of its queue, in one step with the acknowledgement."""
        held = self._release(delivery.tag)
        if held is not None and held.queue is not None:
            key = self.names.schedule(held.queue)
            self._settlements.moves.append(Move(delivery.tag, "due", key, held.text, float(due)))
            self._lease.due_in(due - time())

    def _give_back(self, messages: list[tuple[str, Held]]) -> None:
        """To the heads of their queues, in the order given."""
        for tag, held in reversed(messages):
            if held.queue is not None:
                fallback = self.names.list_for(held.queue, 0)
                move = handover.to_head(fallback, tag, held.queue, held.text, self.list_of)
                self._settlements.moves.append(move)

    def flush(self) -> None:
        """Send all settlements; the broker has done them when this returns."""
        session = self.session
        if session.usable and (self._settlements or session.pipe.outstanding):
            self._settlements.send(session, patient=False)
            session.wait()

    def list_of(self, queue: str, envelope: Envelope) -> bytes:
        """The list that a message of a queue belongs to."""
        return self.names.list_of(queue, envelope["properties"].get("priority"))


def _opened(envelope: Envelope) -> Opened:
    return Opened(
        envelope["properties"],
        envelope.get("body"),
        envelope.get("headers"),
        envelope.get("content-type"),
        envelope.get("content-encoding"),
    )
