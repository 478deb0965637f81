"""Deliveries in, jobs out, outcomes back: what waits here, what runs in the pool, what is settled.

Ready messages wait here only until the pool accepts them; the prefetch count keeps them few.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from taskyard.execution import lines
from taskyard.execution.job import ACK, MALFORMED, POSTPONED, PROGRESS, REJECT, REQUEUE, Outcome
from taskyard.pool.pool import Limits, LostJob
from taskyard.worker.assignment import job_of
from taskyard.worker.doubles import Doubles
from taskyard.worker.early import EarlyAcknowledgements
from taskyard.worker.endings import Endings
from taskyard.worker.held import Held
from taskyard.worker.holdings import Holdings
from taskyard.worker.intake import Intake
from taskyard.worker.withdrawal import cancel_running, drop_revoked, terminate

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.broker.delivery import Delivery
    from taskyard.broker.link import Link
    from taskyard.loop import Loop
    from taskyard.message.protocol import Envelope
    from taskyard.pool.pool import Pool
    from taskyard.worker.deadletters import DeadLetterRules
    from taskyard.worker.figures import State
    from taskyard.worker.remote.observer import Observer
    from taskyard.worker.settler import Settler

logger = logging.getLogger("taskyard.worker")


class Consumer(Holdings):
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
        doubles = Doubles()
        super().__init__(Endings(app, settler, state, rules, doubles), doubles, state)
        self._loop = loop
        self._pool = pool
        self._settler = settler
        self.intake = Intake(app, rules, limits, self.endings, self._doubles)
        self._info = logger.isEnabledFor(logging.INFO)
        self.revoked = self.intake.revoked
        self._limited = self.rates.gauges
        self.read_rates()
        #: Told of what happens to tasks, while anybody wants to know.
        self.observer: Observer | None = None
        self._seq = 0
        self._early = EarlyAcknowledgements()
        self.progress_at = monotonic()
        pool.on_outcomes = self.on_outcomes
        pool.on_lost = self.on_lost
        pool.on_returned = self.on_returned
        pool.on_soft_limit = self.on_soft_limit

    # -- in
    def on_delivery(self, delivery: Delivery) -> None:
        """Look at a message's headers and decide."""
        envelope = self.intake.examine(delivery)
        if envelope is None:
            return
        held = self._hold(delivery, envelope)
        wait = 0.0 if envelope.eta is None else envelope.eta - time()
        if self._limited and envelope.name in self._limited:
            turn = self.rates.book(envelope.name)
            if turn is None:
                delivery.defer(time() + self.rates.away(envelope.name))
                return
            held.rated = turn > 0
            wait = max(wait, turn)
        if self._info:
            lines.received(logger, envelope.id, envelope.name, delivery.headers)
        if self.observer is not None:
            self.observer.received(held)
        if wait > 0:
            self._park(held, wait)
        else:
            self.ready.append(held)

    def _hold(self, delivery: Delivery, envelope: Envelope) -> Held:
        self._seq += 1
        return Held(delivery, envelope, self._seq, self.intake.limits_of(envelope))

    def _park(self, held: Held, wait: float) -> None:
        self.parked.add(held)
        held.timer = self._loop.call_later(wait, self._due, held)

    def _due(self, held: Held) -> None:
        self.unpark(held)
        self.ready.append(held)
        self.dispatch()

    def is_revoked(self, held: Held) -> bool:
        """Whether it must not begin."""
        return self.revoked.active and self.revoked.covers(held.envelope.id, held.delivery.headers)

    # -- rates
    def read_rates(self) -> None:
        """The rate limits of all tasks, as the app has them now."""
        conf, tasks = self.intake.app.conf, self.intake.app.tasks
        if not conf.worker_disable_rate_limits:
            self.rates.set_all([tasks[name] for name in tasks], conf.task_default_rate_limit)

    def change_rate(self, name: str, limit: Any) -> None:
        """Another rate from now on, also for what waits here because of the old one."""
        waiting = [held for held in self.parked if held.rated and held.envelope.name == name]
        for held in waiting:
            self.unpark(held)
        self.rates.set(name, limit)
        for held in sorted(waiting, key=lambda each: each.seq):
            turn = self.rates.book(name)
            if turn:
                held.rated = True
                self._park(held, turn)
            else:
                self.ready.append(held)
        self.dispatch()

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
            self.endings.expired(delivery, envelope)
            return
        if self.revoked.active and self.revoked.covers(envelope.id, delivery.headers):
            self.endings.revoked(delivery, envelope)
            return
        self._seq += 1
        held.seq = self._seq  # the pool relies on ascending numbers
        self.running[held.seq] = held
        state = self._state
        state.started += 1
        state.accepted[envelope.name] = state.accepted.get(envelope.name, 0) + 1
        self.progress_at = monotonic()
        events = False
        if self.observer is not None:
            self.observer.submitted(held)
            events = self.observer.events
        if self.intake.acks_early(envelope.name):
            self._early.expect(held)
        self._pool.submit(job_of(held, events=events), held.limits)

    # -- back from the pool
    def on_outcomes(self, outcomes: list[Outcome]) -> None:
        """Jobs have ended."""
        self.progress_at = monotonic()
        state, settle, done = self._state, self.endings.settle, self.endings.done
        for outcome in outcomes:
            if outcome.disposition == PROGRESS:
                begun = self.running.get(outcome.seq)
                self._settler.progress(outcome.results, 0 if begun is None else begun.fence)
                continue
            held = self.running.pop(outcome.seq, None)
            if held is None:
                continue
            state.count(outcome.state, outcome.runtime)
            if self.observer is not None:
                self.observer.ended(held, outcome)
            action: Any
            if outcome.disposition == ACK:
                done(outcome.results, held, outcome.part)
                continue
            if outcome.disposition == REQUEUE:
                action = partial(self._give_back, held, "requeue")
            elif outcome.disposition == REJECT:
                action = partial(self._give_back, held, "reject", outcome.reason or outcome.state)
            elif outcome.disposition == POSTPONED:
                action = partial(self._give_back, held, "defer", outcome.due)
            elif outcome.disposition == MALFORMED:
                self._state.malformed += 1
                queue = held.delivery.queue
                logger.error("Message of queue %r goes to the dead letters: %s", queue, outcome.reason)
                held.settle("reject", outcome.reason)
                continue
            else:
                continue
            settle(outcome.results, action, held, outcome.part)
        self.dispatch()

    def _give_back(self, held: Held, how: str, *arguments: Any) -> None:
        """Settle what may run again: another delivery of it is no double."""
        self._doubles.forget(held)
        held.settle(how, *arguments)

    def acknowledge_early(self) -> None:
        """Called often: acknowledge what has begun and wants it so (acks_late off)."""
        self._early.look(self._pool, self.running)

    def on_returned(self, seqs: list[int]) -> None:
        """The pool gives back jobs that have not begun: they are next again."""
        returned = [held for seq in sorted(seqs) if (held := self.running.pop(seq, None)) is not None]
        self._state.started -= len(returned)
        for held in returned:
            self._early.returned(held)
            self._state.accepted[held.envelope.name] -= 1
            if self.observer is not None:
                self.observer.returned(held)
        for held in reversed(returned):
            if not self._doubles.drop_if_orphaned(held):
                self.ready.appendleft(held)
        if not self.open and not self._closing:
            # A child had announced a job and then saw that nothing may begin any more.
            self.give_back_waiting()
        self.dispatch()

    def on_soft_limit(self, seq: int, limit: float) -> None:
        """A task is about to be interrupted."""
        held = self.running.get(seq)
        if held is not None:
            name, task_id = held.envelope.name, held.envelope.id
            logger.warning("Soft time limit (%ss) exceeded for %s[%s]", f"{limit:g}", name, task_id)

    def on_lost(self, lost: list[LostJob]) -> None:
        """Processes ended in mid-task."""
        for job in lost:
            held = self.running.pop(job.seq, None)
            if held is None:
                continue
            if self.observer is not None:
                self.observer.lost(held)
            if held.fate == "cancelled":
                self.endings.cancelled(held)
            elif job.terminated is not None:
                self.endings.revoked(held.delivery, held.envelope, held, signum=job.terminated)
            elif job.exceeded is not None:
                self.endings.time_limit_exceeded(held, job.exceeded)
            else:
                self.endings.process_lost(held, job.reason)
        self.dispatch()

    # -- remote control
    def observe(self, observer: Observer | None) -> None:
        """Tell that observer from now on, or nobody."""
        self.observer = self.endings.observer = observer

    def drop_revoked(self) -> None:
        """End what has not begun and was revoked."""
        drop_revoked(self, self._pool)

    def terminate(self, is_meant: Callable[[Held], bool], number: int) -> list[str]:
        """End those that run by a signal; returns their ids.  NotSupported if the pool cannot."""
        return terminate(self, self._pool, is_meant, number)

    # -- giving back
    def close_tap(self) -> None:
        """Let nothing begin any more and take back from the pool what has not begun."""
        self.open = False
        self._closing = True
        self.on_returned(self._pool.take_back())

    # -- connections come and go
    def on_link_open(self, link: Link) -> None:
        """What stayed ours is settled by the new link from now on."""
        super().on_link_open(link)
        self._settler.link_open(link)

    def on_link_lost(self, link: Link) -> None:
        """What has not begun will come again; what runs goes on, unless the settings say otherwise."""
        super().on_link_lost(link)
        self._settler.link_lost()
        if self.intake.app.conf.worker_cancel_long_running_tasks_on_connection_loss:
            cancel_running(self, self._pool, link)
