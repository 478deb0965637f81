"""Intake: the checks at the worker's edge.

A delivery is malformed, worn out, expired, a double of what runs here, not yet due, or a task to run.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from taskyard.errors import MalformedMessage
from taskyard.message.codec import content_types
from taskyard.message.protocol import Envelope, read_envelope, upgrade_protocol_1
from taskyard.pool.pool import Limits
from taskyard.worker.remote.deferred import Deferred
from taskyard.worker.remote.revoked import RevokedTasks

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.broker.delivery import Delivery
    from taskyard.worker.deadletters import DeadLetterRules
    from taskyard.worker.doubles import Doubles
    from taskyard.worker.endings import Endings

#: What is due within this many seconds waits here, everything later in the broker.
ETA_PATIENCE = 1.0
#: Names of tasks that are remembered; anybody can send any name.
_KNOWN_TASKS = 10_000
_NO_LIMITS = Limits()


class Intake:
    """Decides what a delivery is; ends those that are not to run."""

    def __init__(
        self, app: App, rules: DeadLetterRules, limits: Limits, endings: Endings, doubles: Doubles
    ) -> None:
        self.app = app
        self.rules = rules
        self.limits = limits
        self._endings = endings
        self._doubles = doubles
        self._accept = content_types(app.conf.accept_content)
        self._early: dict[str, bool] = {}
        #: What must not begin, and what was put into the broker's schedule.
        self.revoked = RevokedTasks()
        self.deferred = Deferred()
        self._most_bytes = app.conf.worker_max_message_bytes

    def examine(self, delivery: Delivery) -> Envelope | None:
        """The envelope of a task that is to run here (soon), None if the message was seen to."""
        try:
            envelope = self._read(delivery)
        except MalformedMessage as error:
            self._endings.malformed(delivery, error.reason)
            return None
        # First of all: what runs here is neither worn out nor too late, however often it is delivered again.
        if self._doubles and self._doubles.absorb(delivery, envelope):
            return None
        if self.rules.rules and self._worn_out(delivery, envelope):
            return None
        if envelope.expires is not None and time() > envelope.expires:
            self._endings.expired(delivery, envelope)
            return None
        if self.revoked.active and self.revoked.covers(envelope.id, delivery.headers):
            self._endings.revoked(delivery, envelope)
            return None
        if envelope.eta is not None and envelope.eta - time() > ETA_PATIENCE:
            self.deferred.add(delivery, envelope)
            delivery.defer(envelope.eta)
            return None
        return envelope

    def _read(self, delivery: Delivery) -> Envelope:
        headers = delivery.headers
        if not isinstance(headers, dict):
            raise MalformedMessage(f"headers must be an object, not {type(headers).__name__}")
        if self._most_bytes and len(delivery.body) > self._most_bytes:
            from taskyard.message.compression import too_large

            raise too_large(self._most_bytes)
        if "task" not in headers:
            headers, body = upgrade_protocol_1(
                delivery.body,
                delivery.content_type,
                delivery.content_encoding,
                headers,
                self._accept,
                self._most_bytes,
            )
            delivery.headers, delivery.body = headers, body
            delivery.content_type, delivery.content_encoding = "application/json", "utf-8"
        envelope = read_envelope(headers)
        if delivery.content_type not in self._accept:
            raise MalformedMessage(f"content type {delivery.content_type!r} is not accepted (accept_content)")
        return envelope

    def _worn_out(self, delivery: Delivery, envelope: Envelope) -> bool:
        """Count this delivery against the queue's limit; True if the message went elsewhere."""
        limit = self.rules.limit(delivery.queue)
        if limit is None:
            return False
        if envelope.deliveries >= limit:
            self._endings.worn_out(delivery, envelope)
            return True
        link = delivery.link
        if delivery.redelivered and not link.keeps_deliveries and "x-delivery-count" not in delivery.headers:
            # A classic queue does not count: a copy that carries the count takes this message's place.
            delivery.requeue_counted(envelope.deliveries + 1)
            return True
        return False

    def acks_early(self, name: str) -> bool:
        """Whether messages of that task are acknowledged when it begins."""
        early = self._early.get(name)
        if early is None:
            task = self.app.tasks.find(name)
            late = getattr(task, "acks_late", None)
            late = self.app.conf.task_acks_late if late is None else late
            early = self._early[name] = not late
            if len(self._early) > _KNOWN_TASKS:
                self._early.clear()
        return early

    def limits_of(self, envelope: Envelope) -> Limits:
        """The message's limits, else the task's, else the worker's."""
        task = self.app.tasks.find(envelope.name)
        hard, soft = envelope.hard_limit, envelope.soft_limit
        if task is not None:
            hard = task.time_limit if hard is None else hard
            soft = task.soft_time_limit if soft is None else soft
        hard = self.limits.hard if hard is None else hard
        soft = self.limits.soft if soft is None else soft
        return Limits(hard or None, soft or None) if hard or soft else _NO_LIMITS
