"""What keeps taken messages safe: the beat of this worker, the search for lost ones, and the schedules.

A worker beats at least every five seconds. Whoever has been silent for ``lease_seconds`` is taken for lost by
any other, and its messages go back to the heads of their queues with one more delivery counted; who is silent
and has hung up (hangup.py) is lost after two beats. Consumers without a lease (stock kombu) are under kombu's
visibility timeout, as they are among themselves.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import uniform
from time import monotonic
from typing import Any, Final

from taskyard.broker.envelope import (
    DeadLetters,
    Envelope,
    UnreadableMessageError,
    dead,
    delivery_count,
    dumps,
    loads,
    mark_redelivered,
    parse,
    wrapped,
)
from taskyard.broker.leases import LeaseRules
from taskyard.broker.redis.hangup import Hangups
from taskyard.broker.redis.intake import split_record
from taskyard.broker.redis.pipe import check
from taskyard.broker.redis.session import Session

logger = logging.getLogger(__name__)

RECLAIM_SECONDS: Final = 10.0
DUE_SECONDS: Final = 10.0
"""Between looks into the schedules, for what others put there; each sets an alarm for what it knows of."""

DUE_EACH: Final = 0.02
"""Least seconds between two looks, for each worker there is: together they look often enough."""

RECLAIMED_A_CALL: Final = 100
DUE_A_CALL: Final = 100


@dataclass(frozen=True, slots=True)
class Routes:
    """What the lease must know of the channels to put a message back.

    ``list_of`` gives the list of a queue for an envelope, ``lookup`` the queues of an exchange and routing
    key, ``rule`` the dead-letter rule of a queue that this process answers for, else None.
    """

    list_of: Callable[[str, Envelope], bytes]
    lookup: Callable[[str, str], Iterable[str]]
    rule: Callable[[str], DeadLetters | None]


def beat_operands(session: Session, rules: LeaseRules, *, renew: bool) -> tuple[list[bytes], list[bytes]]:
    """Keys and arguments of ``beat.lua``."""
    names = session.names
    return (
        [names.workers, session.lease, names.unacked_index],
        [session.worker.encode(), b"1" if renew else b"0", b"%.3f" % rules.quiet],
    )


class Lease:
    """Housekeeping on one session; ``tick`` does what is due and ``next_at`` says when that will be."""

    def __init__(self, session: Session, rules: LeaseRules, routes: Routes) -> None:
        self.session = session
        self.rules = rules
        self._routes = routes
        self._queues: list[str] = []
        self._hangups = Hangups(session, rules.quiet)
        now = monotonic()
        self._beat_at = now
        self._renew_at = now + rules.renewal
        self._reclaim_at = now
        self._due_at = now
        self._introduced = False
        self._reclaiming = False
        self._scheduling = False

    @property
    def next_at(self) -> float:
        """When ``tick`` has something to do, by the monotonic clock."""
        at = min(self._beat_at, self._reclaim_at)
        return min(at, self._due_at) if self._queues else at

    def watch_schedules(self, queues: Iterable[str]) -> None:
        """Move what is due for these queues, at once and from now on."""
        self._queues = list(dict.fromkeys(queues))
        self._due_at = monotonic()

    def introduce(self) -> None:
        """Queue the first beat: what a worker that nobody knows has leased is found by nobody."""
        now = monotonic()
        self._beat_at = now + self.rules.beat
        self._beat(now)

    def renew_soon(self) -> None:
        """Renew with the next beat, which is due at once."""
        self._beat_at = self._renew_at = monotonic()

    def tick(self, now: float) -> None:
        """Queue the calls whose time has come."""
        if now >= self._beat_at:
            self._beat_at = now + self.rules.beat
            self._beat(now)
        if now >= self._reclaim_at:
            self._reclaim_at = now + RECLAIM_SECONDS * uniform(0.8, 1.2)
            self._reclaim()
            self.session.look()
        if now >= self._due_at and self._queues:
            self._due_at = now + DUE_SECONDS * uniform(0.8, 1.2)
            self._move_due()

    def _beat(self, now: float) -> None:
        renew = now >= self._renew_at
        if renew:
            self._renew_at = now + self.rules.renewal
        session = self.session
        session.pipe.call_script(
            self._beaten,
            session.scripts.beat,
            *beat_operands(session, self.rules, renew=renew),
        )

    def _beaten(self, reply: Any) -> None:
        check(reply)
        known, self.session.crowd, silent = reply
        if not known and self._introduced:
            logger.warning(
                "this worker was silent for over %g s and taken for lost: what it held is delivered again",
                self.rules.seconds,
            )
        self._introduced = True
        if silent:
            self._hangups.look(silent, self._reclaim_soon)

    def _reclaim_soon(self) -> None:
        self._reclaim_at = monotonic()

    def _reclaim(self) -> None:
        if self._reclaiming:
            return
        self._reclaiming = True
        names = self.session.names
        self.session.pipe.call_script(
            self._orphans,
            self.session.scripts.orphans,
            [names.workers, names.unacked, names.unacked_index],
            [*self._limits(), b"%d" % RECLAIMED_A_CALL, names.lease_prefix],
        )

    def _limits(self) -> list[bytes]:
        return [b"%.3f" % self.rules.seconds, b"%.3f" % self.rules.visibility_timeout]

    def _orphans(self, reply: Any) -> None:
        self._reclaiming = False
        check(reply)
        if not reply:
            return
        names = self.session.names
        pushes: list[tuple[bytes, bytes, bytes, bytes, bytes]] = []
        for worker, tag, record in zip(reply[::3], reply[1::3], reply[2::3], strict=True):
            for at, (where, key, text) in enumerate(self._destinations(tag, record, lost=bool(worker))):
                pushes.append((worker, tag, b"more" if at else where, key, text))
        keys = list(dict.fromkeys(push[3] for push in pushes))
        numbers = {key: b"%d" % number for number, key in enumerate(keys, start=1)}
        arguments = [*self._limits(), names.lease_prefix]
        for worker, tag, where, key, text in pushes:
            arguments += (worker, tag, where, numbers[key], text)
        self.session.pipe.call_script(
            self._reclaimed,
            self.session.scripts.reclaim,
            [names.workers, names.unacked, names.unacked_index, *keys],
            arguments,
        )

    def _reclaimed(self, reply: Any) -> None:
        check(reply)
        if reply:
            self._reclaim_soon()  # there may be more, and the books of the lost are to be closed
            self.session.wake()
            logger.warning("%d message(s) of lost consumers were put back", reply)

    def _destinations(self, tag: bytes, record: bytes, *, lost: bool) -> list[tuple[bytes, bytes, bytes]]:
        """Where the message of a record of ``unacked`` belongs: end of list, key, text."""
        parts = split_record(record) if lost else None
        if parts is not None:
            return [self._back(parts[0], parts[1])]
        try:
            message, exchange, routing_key = loads(record)
            queues = list(self._routes.lookup(exchange or "", routing_key))
            text = dumps(message)
        except (ValueError, TypeError, LookupError) as error:
            logger.error("a record of unacknowledged messages cannot be read (%s): %.200r", error, record)
            whole = wrapped(record, tag.decode(errors="replace"))
            return [self._dead(whole, "taskyard", f"unreadable record: {error}")]
        return [self._back(text, queue, lost=False) for queue in queues or [routing_key]]

    def _back(self, text: bytes, queue: str, *, lost: bool = True) -> tuple[bytes, bytes, bytes]:
        try:
            envelope = parse(text)
        except UnreadableMessageError:
            return b"head", self.session.names.list_for(queue, 0), text
        mark_redelivered(envelope, lost=lost)
        rule = self._routes.rule(queue)
        if rule is not None and rule.exhausted(delivery_count(envelope)):
            reason = f"its worker was lost {delivery_count(envelope)} times"
            return self._dead(envelope, queue, reason, rule)
        return b"head", self._routes.list_of(queue, envelope), dumps(envelope)

    def _dead(
        self, envelope: Envelope, queue: str, reason: str, rule: DeadLetters | None = None
    ) -> tuple[bytes, bytes, bytes]:
        target = rule.queue if rule else f"{queue}.dead"
        dead(envelope, reason=reason, queue=queue, target=target, delivered=False)
        return b"tail", self.session.names.list_for(target, 0), dumps(envelope)

    def _move_due(self) -> None:
        if self._scheduling:
            return
        self._scheduling = True
        names = self.session.names
        keys = []
        for queue in self._queues:
            keys += [names.schedule(queue), *names.lists(queue)]
        steps = [b"%d" % step for step in names.steps]
        self.session.pipe.call_script(
            self._moved_due, self.session.scripts.due, keys, [b"%d" % DUE_A_CALL, *steps]
        )

    def _moved_due(self, reply: Any) -> None:
        self._scheduling = False
        check(reply)
        moved, milliseconds = reply
        if moved:
            self.session.wake()
        if milliseconds >= 0:
            self.due_in(milliseconds / 1000)

    def due_in(self, seconds: float) -> None:
        """A message is due by then: whoever knows the moment is there in time."""
        wait = max(seconds, DUE_EACH * self.session.crowd * uniform(0, 2)) + uniform(0, 0.003)
        self._due_at = min(self._due_at, monotonic() + wait)

    def leave(self) -> None:
        """Give up the lease, which holds nothing any more or is left to be reclaimed."""
        session = self.session
        session.pipe.call_script(
            lambda reply: None,
            session.scripts.leave,
            [session.names.workers, session.lease],
            [session.worker.encode()],
        )
