"""Endings: how a message ends by the worker's own decision, and the order of result and settlement."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any

from taskyard.errors import Retry, TaskRevokedError, TimeLimitExceeded, WorkerLostError
from taskyard.result.meta import encode_meta
from taskyard.result.states import FAILURE, RETRY, REVOKED
from taskyard.result.store import Batch, stored_by_parent
from taskyard.result.store_thread import Verdict
from taskyard.worker.assignment import brought_by

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.broker.delivery import Delivery
    from taskyard.message.protocol import Envelope
    from taskyard.result.chord_parts import Part
    from taskyard.worker.deadletters import DeadLetterRules
    from taskyard.worker.doubles import Doubles
    from taskyard.worker.figures import State
    from taskyard.worker.held import Held
    from taskyard.worker.remote.observer import Observer
    from taskyard.worker.settler import Settler

logger = logging.getLogger("taskyard.worker")

#: Headers that count deliveries of one message.
_DELIVERY_COUNTS = ("x-delivery-count", "x-taskyard-deliveries")


class Endings:
    """Ends messages that no task ended: malformed, expired, over their limits, their process lost."""

    def __init__(
        self, app: App, settler: Settler, state: State, rules: DeadLetterRules, doubles: Doubles
    ) -> None:
        self._app = app
        self._settler = settler
        self._state = state
        self._rules = rules
        self._doubles = doubles
        self._stores_in_parent = stored_by_parent(app.conf)
        #: Ended, with results that are not stored yet.
        self.settling: set[Held] = set()
        #: Messages that never were held, with results that are not stored yet.
        self.discarding = 0
        #: Told of what ends, while anybody wants to know.
        self.observer: Observer | None = None

    def settle(
        self,
        results: list[tuple[str, bytes]],
        action: Callable[[], None],
        held: Held | None = None,
        part: Part | None = None,
        acknowledged: Delivery | None = None,
    ) -> None:
        """Store the results, tell the chord, and only then act on the message: if all that this does is to
        acknowledge it, in the same call where that can be.
        """
        if not results and part is None:
            action()
            return
        fence = 0 if held is None else held.fence
        brought = brought_by(held, part) if held is not None and part is not None else None
        self._settler.settle(Batch(results, self._counted(action, held), fence, brought, acknowledged))

    def done(self, results: list[tuple[str, bytes]], held: Held, part: Part | None) -> None:
        """Store the results, tell the chord and acknowledge the message."""
        self.settle(results, partial(self._doubles.acknowledge, held), held, part, held.delivery)

    def _counted(self, action: Callable[[], None], held: Held | None) -> Callable[[], None]:
        """The action, which is outstanding until it is called."""
        if held is None:
            self.discarding += 1
        else:
            self.settling.add(held)

        def stored() -> None:
            if held is None:
                self.discarding -= 1
            else:
                self.settling.discard(held)
            action()

        return stored

    def conclude(
        self,
        delivery: Delivery,
        envelope: Envelope,
        state: str,
        error: Exception,
        action: Callable[[], None],
        held: Held | None = None,
    ) -> None:
        """Store the state, tell the task's chord, chain and error callbacks, and only then act."""
        verdict = Verdict(
            envelope.id,
            state,
            error,
            self._keeps_result(envelope, delivery.headers),
            delivery.headers,
            delivery.body,
            delivery.content_type,
            delivery.content_encoding,
            dict(delivery.properties),
            {"exchange": delivery.exchange, "routing_key": delivery.routing_key},
            0 if held is None else held.fence,
        )
        self._settler.conclude(verdict, self._counted(action, held))

    def fail(
        self,
        delivery: Delivery,
        envelope: Envelope,
        error: Exception,
        action: Callable[[], None],
        held: Held | None = None,
    ) -> None:
        """The task has failed by no doing of its own."""
        if self.observer is not None:
            self.observer.failed(envelope, error)
        self.conclude(delivery, envelope, FAILURE, error, action, held)

    def malformed(self, delivery: Delivery, reason: str) -> None:
        """To the dead letters: nobody can read it."""
        self._state.malformed += 1
        logger.error("Message of queue %r goes to the dead letters: %s", delivery.queue, reason)
        if self.observer is not None:
            self.observer.malformed(delivery, reason)
        delivery.reject(reason)

    def expired(self, delivery: Delivery, envelope: Envelope) -> None:
        """Too late to begin."""
        self.revoked(delivery, envelope, expired=True)

    def revoked(
        self,
        delivery: Delivery,
        envelope: Envelope,
        held: Held | None = None,
        *,
        signum: int | None = None,
        expired: bool = False,
    ) -> None:
        """Not wanted any more; `held` was running and ended by the signal `signum`."""
        reason = "expired" if expired else "revoked" if held is None else "terminated"
        if held is None:
            logger.info("Discarding revoked task: %s[%s] (%s)", envelope.name, envelope.id, reason)
        else:
            logger.info("Task %s[%s] was terminated (%s)", envelope.name, envelope.id, signum)
        if self.observer is not None:
            self.observer.revoked(
                delivery, envelope, terminated=held is not None, signum=signum, expired=expired
            )
        self._state.count(REVOKED, 0.0)
        error = TaskRevokedError(reason)
        action = delivery.ack if held is None else partial(self._doubles.acknowledge, held)
        keeps = self._keeps_result(envelope, delivery.headers)
        if not _stands_alone(delivery) or (keeps and not self._stores_in_parent):
            self.conclude(delivery, envelope, REVOKED, error, action, held)
            return
        results = [(envelope.id, encode_meta(envelope.id, REVOKED, error))] if keeps else []
        self.settle(results, action, held, acknowledged=delivery)

    def worn_out(self, delivery: Delivery, envelope: Envelope) -> None:
        """Delivered as often as its queue allows."""
        reason = f"delivered {envelope.deliveries} times without an end"
        logger.error("Task %s[%s] goes to the dead letters: %s", envelope.name, envelope.id, reason)
        self.fail(delivery, envelope, WorkerLostError(reason), partial(delivery.reject, reason))

    def time_limit_exceeded(self, held: Held, limit: float) -> None:
        """The pool has ended it."""
        envelope = held.envelope
        logger.error("Hard time limit (%ss) exceeded for %s[%s]", f"{limit:g}", envelope.name, envelope.id)
        action = partial(self._doubles.acknowledge, held)
        if not self._acks_on_timeout(envelope.name) and not held.early:
            if self._again(held, "its time limit", TimeLimitExceeded(limit)):
                return
            action = partial(held.settle, "reject", "time limit exceeded")
        self._state.count(FAILURE, limit)
        self.fail(held.delivery, envelope, TimeLimitExceeded(limit), action, held)

    def process_lost(self, held: Held, reason: str) -> None:
        """Its process ended in mid-task: again within the limit, or never again."""
        envelope, delivery = held.envelope, held.delivery
        self._state.lost += 1
        self._doubles.forget(held)
        if self._option(envelope.name, "retry_on_worker_lost", "task_retry_on_worker_lost"):
            if self._retry(held, reason):
                return
        else:
            again = self._option(envelope.name, "reject_on_worker_lost", "task_reject_on_worker_lost")
            if again and not held.early and self._again(held, f"its lost process: Worker {reason}"):
                return
        most = self._most_deliveries(delivery)
        # Celery's words, which monitoring looks for.
        text = f"Worker {reason} (delivery {envelope.deliveries + 1} of {most})"
        logger.error("Task %s[%s] has failed: %s", envelope.name, envelope.id, text)
        self._state.count(FAILURE, 0.0)
        self.fail(delivery, envelope, WorkerLostError(text), partial(held.settle, "reject", text), held)

    def _again(self, held: Held, why: str, error: Exception | None = None) -> bool:
        """Give it back with one more delivery counted, unless it has had its share."""
        envelope = held.envelope
        deliveries = envelope.deliveries + 1
        limit = self._most_deliveries(held.delivery)
        if deliveries >= limit:
            return False
        logger.warning(
            "Task %s[%s] will run again because of %s (delivery %s of %s)",
            envelope.name,
            envelope.id,
            why,
            deliveries,
            limit,
        )
        self._doubles.forget(held)
        held.settle("requeue_counted", deliveries)
        if self.observer is not None:
            if error is not None:
                self.observer.failed(envelope, error)
            self.observer.rejected(envelope, requeue=True)
        return True

    def _most_deliveries(self, delivery: Delivery) -> int:
        most: int = self._rules.limit(delivery.queue) or self._app.conf.task_max_deliveries
        return most

    def _acks_on_timeout(self, name: str) -> bool:
        conf = self._app.conf
        own = conf.task_acks_on_timeout
        setting = conf.task_acks_on_failure_or_timeout if own is None else own
        value = getattr(self._app.tasks.find(name), "acks_on_timeout", None)
        return bool(setting if value is None else value)

    def _retry(self, held: Held, reason: str) -> bool:
        """Send it as its own `retry` would (retry_on_worker_lost); False if it has no retries left."""
        envelope = held.envelope
        task = self._app.tasks.find(envelope.name)
        retries = held.delivery.headers.get("retries") or 0
        if task is None or (task.max_retries is not None and retries >= task.max_retries):
            return False
        logger.warning("Task %s[%s] is retried: Worker %s", envelope.name, envelope.id, reason)
        delivery = held.delivery
        delay = task.default_retry_delay or 0
        due = datetime.fromtimestamp(time() + delay, UTC)
        # The same message with other headers, as a new one that was never delivered.
        again = {
            **{name: value for name, value in delivery.headers.items() if name not in _DELIVERY_COUNTS},
            "retries": retries + 1,
            "eta": due.isoformat() if delay else None,
        }

        def send_again() -> None:
            delivery.headers = again
            held.settle("requeue_counted", 0)

        self._state.count(RETRY, 0.0)
        error = WorkerLostError(f"Worker {reason}")
        if self.observer is not None:
            self.observer.retried(envelope, error)
        self.conclude(delivery, envelope, RETRY, error, send_again, held)
        return True

    def cancelled(self, held: Held) -> None:
        """Ended because its broker delivers it again, to whomever."""
        envelope = held.envelope
        self._doubles.forget(held)
        if self.observer is not None:
            self.observer.cancelled(envelope)
        error = Retry("cancelled: the connection to the broker was lost")
        self.conclude(held.delivery, envelope, RETRY, error, _nothing)
        if held.successor is not None:
            held.successor.requeue()  # it came again before its process had ended

    def _option(self, name: str, attribute: str, setting: str) -> Any:
        """The task's own choice, else the setting."""
        task = self._app.tasks.find(name)
        own = getattr(task, attribute) if task is not None else None
        return getattr(self._app.conf, setting) if own is None else own

    def _keeps_result(self, envelope: Envelope, headers: dict[str, Any]) -> bool:
        ignore = headers.get("ignore_result")
        if ignore is None:
            ignore = self._option(envelope.name, "ignore_result", "task_ignore_result")
        return not ignore


def _nothing() -> None:
    """There is no message any more to act upon."""


def _stands_alone(delivery: Delivery) -> bool:
    """Whether neither a chord nor the rest of a chain waits for it; in doubt not."""
    body = delivery.body.encode() if isinstance(delivery.body, str) else delivery.body
    end = b"".join(body[-64:].split())
    return not delivery.headers.get("group") and end.endswith(b'"chain":null,"chord":null}]')
