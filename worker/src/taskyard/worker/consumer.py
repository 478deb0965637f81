"""Deliveries in, jobs out, outcomes back: checks at the edge, what waits here, what runs in the pool.

A delivery is malformed, worn out, expired, not yet due, a double of what runs here, or ready.  Ready ones
wait here only until the pool accepts them; the prefetch count keeps them few.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from taskyard.errors import MalformedMessage, TaskRevokedError, TimeLimitExceeded, WorkerLostError
from taskyard.execution.job import ACK, MALFORMED, PROGRESS, REJECT, REQUEUE, Job, Outcome
from taskyard.message.codec import content_types
from taskyard.message.protocol import Envelope, read_envelope, upgrade_protocol_1
from taskyard.pool.pool import Limits, LostJob
from taskyard.result.meta import encode_meta
from taskyard.result.states import FAILURE, REVOKED

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.broker.delivery import Delivery
    from taskyard.broker.link import Link
    from taskyard.loop import Loop, Timer
    from taskyard.pool.pool import Pool
    from taskyard.worker.deadletters import DeadLetterRules
    from taskyard.worker.settler import Settler
    from taskyard.worker.state import State

logger = logging.getLogger("taskyard.worker")

#: What is due within this many seconds waits here, everything later in the broker.
ETA_PATIENCE = 1.0
#: Messages that are remembered as done, in case their acknowledgement was lost with its connection.
_REMEMBERED = 10_000


class Held:
    """A delivery in our hands that is a task."""

    __slots__ = ("delivery", "envelope", "limits", "seq", "successor", "timer")

    def __init__(self, delivery: Delivery, envelope: Envelope, seq: int, limits: Limits) -> None:
        self.delivery = delivery
        self.envelope = envelope
        self.seq = seq
        self.limits = limits
        #: A later delivery of the same task, to be settled with this one.
        self.successor: Delivery | None = None
        self.timer: Timer | None = None

    def settle(self, how: str, *arguments: Any) -> None:
        """Call that method of the delivery (and of its successor)."""
        getattr(self.delivery, how)(*arguments)
        if self.successor is not None:
            getattr(self.successor, how)(*arguments)


class Consumer:
    """Owns every delivery from its arrival to its settlement."""

    def __init__(
        self,
        app: App,
        loop: Loop,
        pool: Pool,
        settler: Settler,
        state: State,
        rules: DeadLetterRules,
        limits: Limits,
    ) -> None:
        self._app = app
        self._loop = loop
        self._pool = pool
        self._settler = settler
        self._state = state
        self._rules = rules
        self._limits = limits
        self._zone = app.timezone
        self._accept = content_types(app.conf.accept_content)
        self._info = logger.isEnabledFor(logging.INFO)
        self._seq = 0
        #: May jobs begin?
        self.open = False
        #: The tap is being closed: what waits is about to be given back, all together.
        self._closing = False
        self.ready: deque[Held] = deque()
        self.parked: set[Held] = set()
        #: In the pool, by sequence number.
        self.running: dict[int, Held] = {}
        #: Messages in the pool whose delivery came by a connection that is gone.
        self._orphaned: dict[tuple[str, int], Held] = {}
        #: Messages that are done and perhaps not acknowledged: another delivery is acknowledged unseen.
        self._done: dict[tuple[str, int], None] = {}
        #: What this connection acknowledged last; whether the broker saw it is not known until much later.
        self._acknowledged: dict[tuple[str, int], Any] = {}
        #: Tags that an earlier connection acknowledged, perhaps in vain.
        self._perhaps_acknowledged: set[Any] = set()
        #: Ended, with results that are not stored yet.
        self._settling: set[Held] = set()
        self._discarding = 0
        self.progress_at = monotonic()
        pool.on_outcomes = self.on_outcomes
        pool.on_lost = self.on_lost
        pool.on_returned = self.on_returned

    @property
    def held(self) -> int:
        """Messages taken and not yet settled."""
        return len(self.ready) + len(self.parked) + len(self.running) + len(self._settling) + self._discarding

    # -- in
    def on_delivery(self, delivery: Delivery) -> None:
        """Look at a message's headers and decide."""
        try:
            envelope = self._read(delivery)
        except MalformedMessage as error:
            self._malformed(delivery, error.reason)
            return
        if self._worn_out(delivery, envelope):
            return
        if envelope.expires is not None and time() > envelope.expires:
            self._expired(delivery, envelope)
            return
        if (self._orphaned or self._done) and self._is_double(delivery, envelope):
            return
        if envelope.eta is not None and self._not_due(delivery, envelope, envelope.eta):
            return
        self._make_ready(delivery, envelope)

    def _read(self, delivery: Delivery) -> Envelope:
        headers = delivery.headers
        if not isinstance(headers, dict):
            raise MalformedMessage(f"headers must be an object, not {type(headers).__name__}")
        if "task" not in headers:
            headers, body = upgrade_protocol_1(
                delivery.body, delivery.content_type, delivery.content_encoding, headers, self._accept
            )
            delivery.headers, delivery.body = headers, body
            delivery.content_type, delivery.content_encoding = "application/json", "utf-8"
        envelope = read_envelope(headers, self._zone)
        if delivery.content_type not in self._accept:
            raise MalformedMessage(f"content type {delivery.content_type!r} is not accepted (accept_content)")
        return envelope

    def _malformed(self, delivery: Delivery, reason: str) -> None:
        self._state.malformed += 1
        logger.error("Message of queue %r goes to the dead letters: %s", delivery.queue, reason)
        delivery.reject(reason)

    def _worn_out(self, delivery: Delivery, envelope: Envelope) -> bool:
        """Count this delivery against the queue's limit; True if the message went elsewhere."""
        limit = self._rules.limit(delivery.queue)
        if limit is None:
            return False
        if envelope.deliveries >= limit:
            reason = f"delivered {envelope.deliveries} times without an end"
            logger.error("Task %s[%s] goes to the dead letters: %s", envelope.name, envelope.id, reason)
            self._settle_failure(
                delivery, envelope, WorkerLostError(reason), partial(delivery.reject, reason)
            )
            return True
        link = delivery.link
        if delivery.redelivered and not link.keeps_deliveries and "x-delivery-count" not in delivery.headers:
            # A classic queue does not count: a copy that carries the count takes this message's place.
            delivery.requeue_counted(envelope.deliveries + 1)
            return True
        return False

    def _expired(self, delivery: Delivery, envelope: Envelope) -> None:
        logger.info("Discarding revoked task: %s[%s] (expired)", envelope.name, envelope.id)
        self._state.count(REVOKED, 0.0)
        results = []
        if self._keeps_result(envelope, delivery.headers):
            results.append((envelope.id, encode_meta(envelope.id, REVOKED, TaskRevokedError("expired"))))
        self._settle(results, delivery.ack)

    def _is_double(self, delivery: Delivery, envelope: Envelope) -> bool:
        """Whether the message is one that runs here, or ended here, since before its connection was lost."""
        if not delivery.redelivered and not envelope.deliveries:
            return False
        if envelope.key in self._done:
            logger.info("Task %s[%s] was delivered again after it was done", envelope.name, envelope.id)
            delivery.ack()
            return True
        held = self._orphaned.get(envelope.key)
        if held is None or (held.successor is not None and not held.successor.stale):
            return False
        logger.info(
            "Task %s[%s] was delivered again while it runs here: not run twice", envelope.name, envelope.id
        )
        held.successor = delivery
        return True

    def _not_due(self, delivery: Delivery, envelope: Envelope, due: float) -> bool:
        wait = due - time()
        if wait <= 0:
            return False
        if wait > ETA_PATIENCE:
            delivery.defer(due)
            return True
        held = self._hold(delivery, envelope)
        self.parked.add(held)
        held.timer = self._loop.call_later(wait, self._unpark, held)
        return True

    def _unpark(self, held: Held) -> None:
        self.parked.discard(held)
        self.ready.append(held)
        self.dispatch()

    def _hold(self, delivery: Delivery, envelope: Envelope) -> Held:
        self._seq += 1
        return Held(delivery, envelope, self._seq, self._limits_of(envelope))

    def _make_ready(self, delivery: Delivery, envelope: Envelope) -> None:
        held = self._hold(delivery, envelope)
        if self._info:
            logger.info("Task %s[%s] received", delivery.headers.get("shadow") or envelope.name, envelope.id)
        self.ready.append(held)

    def _limits_of(self, envelope: Envelope) -> Limits:
        """The message's limits, else the task's, else the worker's."""
        task = self._app.tasks.find(envelope.name)
        hard, soft = envelope.hard_limit, envelope.soft_limit
        if task is not None:
            hard = task.time_limit if hard is None else hard
            soft = task.soft_time_limit if soft is None else soft
        hard = self._limits.hard if hard is None else hard
        soft = self._limits.soft if soft is None else soft
        return Limits(hard or None, soft or None)

    # -- to the pool
    def dispatch(self) -> None:
        """Hand to the pool what it accepts, in order."""
        ready, pool = self.ready, self._pool
        if not self.open:
            return
        while ready and pool.accepts(ready[0].envelope.name):
            held = ready.popleft()
            self._submit(held)
        pool.flush()

    def _submit(self, held: Held) -> None:
        delivery, envelope = held.delivery, held.envelope
        if envelope.expires is not None and time() > envelope.expires:
            self._expired(delivery, envelope)
            return
        self._seq += 1
        held.seq = self._seq  # the pool relies on ascending numbers
        self.running[held.seq] = held
        self._state.started += 1
        self.progress_at = monotonic()
        job = Job(
            held.seq,
            envelope.name,
            envelope.id,
            delivery.body,
            delivery.content_type,
            delivery.content_encoding,
            delivery.headers,
            {
                "correlation_id": delivery.properties.get("correlation_id"),
                "reply_to": delivery.properties.get("reply_to"),
            },
            {
                "exchange": delivery.exchange,
                "routing_key": delivery.routing_key,
                "priority": delivery.properties.get("priority"),
                "redelivered": delivery.redelivered,
            },
        )
        self._pool.submit(job, held.limits)

    # -- back from the pool
    def on_outcomes(self, outcomes: list[Outcome]) -> None:
        """Jobs have ended."""
        self.progress_at = monotonic()
        state = self._state
        for outcome in outcomes:
            if outcome.disposition == PROGRESS:
                self._settler.progress(outcome.results)
                continue
            held = self.running.pop(outcome.seq, None)
            if held is None:
                continue
            state.count(outcome.state, outcome.runtime)
            if outcome.disposition == ACK:
                self._settle(outcome.results, partial(self._finish, held), held)
            elif outcome.disposition == REQUEUE:
                self._settle(outcome.results, partial(held.settle, "requeue"), held)
            elif outcome.disposition == REJECT:
                self._settle(
                    outcome.results, partial(held.settle, "reject", outcome.reason or outcome.state), held
                )
            elif outcome.disposition == MALFORMED:
                self._state.malformed += 1
                logger.error(
                    "Message of queue %r goes to the dead letters: %s", held.delivery.queue, outcome.reason
                )
                held.settle("reject", outcome.reason)
        self.dispatch()

    def _finish(self, held: Held) -> None:
        """Acknowledge; remember what cannot be acknowledged because its connection is gone."""
        key, delivery = held.envelope.key, held.delivery
        if delivery.stale:
            self._orphaned.pop(key, None)
            _remember(self._done, key, None)
        else:
            _remember(self._acknowledged, key, delivery.tag)
        held.settle("ack")

    def _settle(self, results: list[tuple[str, bytes]], action: Any, held: Held | None = None) -> None:
        if not results:
            action()
            return
        if held is None:
            self._discarding += 1
        else:
            self._settling.add(held)

        def stored() -> None:
            if held is None:
                self._discarding -= 1
            else:
                self._settling.discard(held)
            action()

        self._settler.settle(results, stored)

    def on_returned(self, seqs: list[int]) -> None:
        """The pool gives back jobs that have not begun: they are next again."""
        returned = [held for seq in sorted(seqs) if (held := self.running.pop(seq, None)) is not None]
        self._state.started -= len(returned)
        for held in reversed(returned):
            if not self._drop_if_orphaned(held):
                self.ready.appendleft(held)
        if not self.open and not self._closing:
            # A child had announced a job and then saw that nothing may begin any more.
            self.give_back_waiting()
        self.dispatch()

    def _drop_if_orphaned(self, held: Held) -> bool:
        """What has not begun and came by a lost connection will be delivered again."""
        if not held.delivery.stale:
            return False
        self._orphaned.pop(held.envelope.key, None)
        if held.successor is not None and not held.successor.stale:
            held.delivery, held.successor = held.successor, None
            return False
        return True

    def on_lost(self, lost: list[LostJob]) -> None:
        """Processes ended in mid-task."""
        for job in lost:
            held = self.running.pop(job.seq, None)
            if held is None:
                continue
            if job.exceeded is not None:
                self._time_limit_exceeded(held, job.exceeded)
            else:
                self._process_lost(held, job.reason)
        self.dispatch()

    def _time_limit_exceeded(self, held: Held, limit: float) -> None:
        envelope = held.envelope
        logger.error("Hard time limit (%ss) exceeded for %s[%s]", f"{limit:g}", envelope.name, envelope.id)
        self._state.count(FAILURE, limit)
        task = self._app.tasks.find(envelope.name)
        acks = task.acks_on_failure_or_timeout if task is not None else None
        acks = self._app.conf.task_acks_on_failure_or_timeout if acks is None else acks
        error = TimeLimitExceeded(limit)
        action = (
            partial(self._finish, held) if acks else partial(held.settle, "reject", "time limit exceeded")
        )
        self._settle_failure(held.delivery, envelope, error, action, held)

    def _process_lost(self, held: Held, reason: str) -> None:
        envelope, delivery = held.envelope, held.delivery
        self._state.lost += 1
        self._orphaned.pop(envelope.key, None)
        deliveries = envelope.deliveries + 1
        limit = self._rules.limit(delivery.queue) or self._app.conf.task_max_deliveries
        task = self._app.tasks.find(envelope.name)
        again = task.reject_on_worker_lost if task is not None else None
        again = self._app.conf.task_reject_on_worker_lost if again is None else again
        late = task.acks_late if task is not None else None
        again = again and (self._app.conf.task_acks_late if late is None else late)
        if again and deliveries < limit:
            logger.warning(
                "Task %s[%s] will run again, its process was lost (%s; delivery %s of %s)",
                envelope.name,
                envelope.id,
                reason,
                deliveries,
                limit,
            )
            held.settle("requeue_counted", deliveries)
            return
        text = f"the process {reason} in delivery {deliveries} of {limit}"
        logger.error("Task %s[%s] has failed: %s", envelope.name, envelope.id, text)
        self._state.count(FAILURE, 0.0)
        self._settle_failure(
            delivery, envelope, WorkerLostError(text), partial(held.settle, "reject", text), held
        )

    def _settle_failure(
        self, delivery: Delivery, envelope: Envelope, error: Exception, action: Any, held: Held | None = None
    ) -> None:
        results = []
        if self._keeps_result(envelope, delivery.headers):
            results.append(
                (
                    envelope.id,
                    encode_meta(
                        envelope.id,
                        FAILURE,
                        error,
                        group_id=delivery.headers.get("group"),
                        parent_id=delivery.headers.get("parent_id"),
                    ),
                )
            )
        self._settle(results, action, held)

    def _keeps_result(self, envelope: Envelope, headers: dict[str, Any]) -> bool:
        ignore = headers.get("ignore_result")
        if ignore is None:
            task = self._app.tasks.find(envelope.name)
            ignore = task.ignore_result if task is not None else None
        return not (self._app.conf.task_ignore_result if ignore is None else ignore)

    # -- giving back
    def close_tap(self) -> None:
        """Let nothing begin any more and take back from the pool what has not begun."""
        self.open = False
        self._closing = True
        self.on_returned(self._pool.take_back())

    def give_back_waiting(self) -> None:
        """Requeue everything that has not begun."""
        self._closing = False
        waiting = [*self.ready, *self.parked]
        self.ready.clear()
        self.parked.clear()
        # The head of the queue gets them in reverse, so that the oldest is first again.
        for held in reversed(waiting):
            if held.timer is not None:
                held.timer.cancel()
            held.settle("requeue")
        self._state.given_back += len(waiting)

    def give_back_surplus(self, keep: int) -> None:
        """Requeue the last ready ones beyond `keep`."""
        while len(self.ready) > keep:
            held = self.ready.pop()
            held.settle("requeue")
            self._state.given_back += 1

    def give_back_running(self) -> None:
        """Requeue what runs, after its processes were ended."""
        running = list(self.running.values())
        self.running.clear()
        for held in reversed(running):
            held.settle("requeue")
        self._state.given_back += len(running)

    # -- connections come and go
    def _at_work(self) -> list[Held]:
        return [*self.running.values(), *self._settling]

    def kept_tags(self) -> set[Any]:
        """Tags that stay ours over a lost connection: of what is at work, or acknowledged perhaps in vain."""
        at_work = {held.delivery.tag for held in self._at_work() if held.delivery.link.keeps_deliveries}
        return at_work | self._perhaps_acknowledged

    def on_link_lost(self, link: Link) -> None:
        """What has not begun will come again; what runs goes on."""
        self._closing = False
        if link.keeps_deliveries:
            self._perhaps_acknowledged.update(self._acknowledged.values())
        else:
            for key in self._acknowledged:
                _remember(self._done, key, None)
        self._acknowledged.clear()
        for held in self.parked:
            if held.timer is not None:
                held.timer.cancel()
        self.parked.clear()
        self.ready.clear()
        for held in self._at_work():
            if not held.delivery.link.keeps_deliveries:
                self._orphaned[held.envelope.key] = held

    def on_link_open(self, link: Link) -> None:
        """Deliveries that stayed ours are settled by the new link from now on."""
        for held in self._at_work():
            if held.delivery.link.keeps_deliveries:
                held.delivery.link = link
        if self.kept_tags():
            link.ready_to_settle()
            link.ack_again(self._perhaps_acknowledged)
            self._perhaps_acknowledged.clear()


def _remember(known: dict[Any, Any], key: Any, value: Any) -> None:
    """Add, and forget the oldest of too many."""
    known[key] = value
    if len(known) > _REMEMBERED:
        del known[next(iter(known))]
