"""How a channel of our own takes a message out of its queue that cannot be delivered: to the dead letters."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from taskyard.broker.envelope import (
    DeadLetters,
    Envelope,
    UnreadableMessageError,
    dead,
    dead_letters,
    delivery_count,
    dumps,
    parse,
    wrapped,
)
from taskyard.broker.held import Held

logger = logging.getLogger(__name__)


class Burial:
    """The part of a channel that the transports for Redis and SQLite share; `qos` holds what was taken."""

    qos: Any
    Message: Any
    dead_letters: dict[str, Any] | None = None

    @abstractmethod
    def _move_dead(self, tag: str, target: str, text: bytes) -> None:
        """Settle a message by putting the text into the dead-letter queue, in one step."""

    def rule(self, queue: str) -> DeadLetters:
        """The dead-letter rule of a queue."""
        return dead_letters(self.dead_letters, queue)

    def dead_letter(self, delivery_tag: str, reason: str) -> None:
        """Move a held message to the dead-letter queue of its queue, with the reason in its header."""
        held = self.qos._delivered.get(delivery_tag)
        self._bury(delivery_tag, parse(held.text) if held is not None and held.queue else {}, reason)

    def _open_message(
        self, tag: str, queue: str, text: bytes, mark: Callable[[Envelope], bool] | None = None
    ) -> Any:
        """The message for a consumer, now held; None when it went to the dead letters.

        `mark` may change the envelope first and says whether the change is to last.
        """
        delivered = self.qos._delivered
        if tag in delivered:
            # Tags are unique, so this lease was lost while we worked on, and has just come back.
            return None
        delivered[tag] = Held(queue, text)
        try:
            envelope = parse(text)
            if mark is not None and mark(envelope):
                delivered[tag] = Held(queue, dumps(envelope))
            envelope["properties"]["delivery_tag"] = tag
            message = self.Message(envelope, channel=self)
        except UnreadableMessageError as error:
            self._bury(tag, wrapped(text, tag), f"unreadable message: {error}")
            return None
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            self._bury(tag, wrapped(text, tag), f"unreadable body: {error}")
            return None
        count = delivery_count(envelope)
        if count and self.rule(queue).exhausted(count):
            self._bury(tag, envelope, f"its worker was lost {count} times", delivered=False)
            return None
        return message

    def _bury(self, tag: str, envelope: Envelope, reason: str, *, delivered: bool = True) -> None:
        held = self._release(tag)
        if held is None or held.queue is None:
            return
        target = self.rule(held.queue).queue
        dead(envelope, reason=reason, queue=held.queue, target=target, delivered=delivered)
        self._move_dead(tag, target, dumps(envelope))
        logger.warning("a message of queue %r went to %r: %s", held.queue, target, reason)

    def _release(self, tag: str) -> Held | None:
        held: Held | None = self.qos._delivered.pop(tag, None)
        if held is None:
            logger.warning("message %s is not held here: it was settled before, or its lease is lost", tag)
        return held
