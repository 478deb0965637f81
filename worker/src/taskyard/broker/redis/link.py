"""The worker's link to Redis: takes and settles over one session, without kombu and redis-py where it can.

What it reads and writes is what the transport's channel reads and writes; both are built of the same parts
(session, intake, lease, settlements).  Queues that are more than a list with a binding to a direct exchange
are left to the transport: broadcasts, other exchanges, queues that expire.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cached_property
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.broker.alarm import Alarm
from taskyard.broker.connection import connect_as_configured
from taskyard.broker.envelope import DeadLetters
from taskyard.broker.leases import LeaseRules
from taskyard.broker.link import OnDelivery, name_of
from taskyard.broker.redis import handover
from taskyard.broker.redis.consuming import Consuming
from taskyard.broker.redis.errors import RedisConnectionError, ReplyError
from taskyard.broker.redis.intake import Intake
from taskyard.broker.redis.joint import JointCalls
from taskyard.broker.redis.lease import Lease, Routes
from taskyard.broker.redis.pipe import LEAVE_SECONDS
from taskyard.broker.redis.place import Cycle, Place, cycle_for, place_for
from taskyard.broker.redis.plain import Address
from taskyard.broker.redis.session import Session
from taskyard.broker.topology import is_plain_queue

if TYPE_CHECKING:
    from taskyard.settings import Settings

logger = logging.getLogger(__name__)


class RedisLink(Consuming):
    """A link whose deliveries are leased to this worker's id."""

    def __init__(
        self,
        place: Place,
        settings: Settings,
        url: str,
        queues: Collection[Any],
        on_delivery: OnDelivery,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__(place.names, queues, on_delivery, options)
        self.place: Place = place
        self._settings = settings
        self._url = url
        self._identity: handover.Identity = url, place.names.prefix
        self._options = options
        self._cycle = cycle_for(options)
        self._consumed: dict[str, None] = {}
        self._loop: Any = None
        self._alarm: Alarm | None = None
        self._intake: Intake

    @cached_property
    def connection(self) -> Any:
        """A kombu connection to the same broker, for the rare things that need one; not open."""
        return connect_as_configured(self._settings, self._url)

    @property
    def errors(self) -> tuple[type[BaseException], ...]:
        """What means that the connection is lost."""
        return (RedisConnectionError, ReplyError)

    # -- opening
    def open(self) -> None:
        """Connect, take over what an earlier link of this worker has left, declare the queues."""
        options = self._options
        rules = LeaseRules.of(options, options.get("visibility_timeout", 3600))
        try:
            session = Session(
                self.place.connection(),
                self.names,
                worker_id=options.get("worker_id"),
                tracking=options.get("wake_up", "tracking") == "tracking",
            )
        finally:
            self.place.close()
        routes = Routes(list_of=self.list_of, lookup=self._lookup, rule=self._rule)
        self._lease = Lease(session, rules, routes)
        self.adopted = handover.begin(self._identity, self._lease, options, self.list_of)
        self._held.update(self.adopted)
        self.session = session
        self._intake = Intake(session, self._cycle, fair=isinstance(self._cycle, Cycle))
        for queue in self.queues.values():
            self.declare(queue)

    def declare(self, queue: Any) -> None:
        """Bind a queue to its exchange, as kombu does."""
        name = name_of(queue)
        exchange, key = (name, name) if isinstance(queue, str) else (queue.exchange.name, queue.routing_key)
        if not exchange:
            return
        for table, member in self.names.bindings(exchange, key, name):
            self.session.pipe.request(b"SADD", table, member)

    def declare_beside(self, queue: Any) -> None:
        """As `declare`; for a queue that is not plain this link makes room for one by kombu's transport."""
        if is_plain_queue(queue):
            self.declare(queue)
        else:
            self.session.fail(RedisConnectionError(f"queue {name_of(queue)!r} takes kombu's transport"))

    def joint_calls(self, url: str, work: bytes) -> JointCalls | None:
        """Calls of that script on the Redis of a URL, if it is the link's own server."""
        there, here = Address.within(url), Address.within(self._url)
        if there is None or here is None or replace(there, database=here.database) != here:
            return None
        return JointCalls(self, work, there.database, here.database)

    def request(self, *arguments: bytes) -> Any:
        """One command on the link's connection, and its reply."""
        return self.session.pipe.request(*arguments)

    def register(self, loop: Any) -> None:
        """Let the loop drive the session."""
        self._loop = loop
        alarm = self._alarm = Alarm()
        fd = self.session.pipe.fileno()
        loop.add_reader(fd, self._readable)
        loop.add_reader(alarm, alarm.heard)
        loop.on_tick.add(self._tick)
        self.session.before_close = lambda: loop.remove(fd)

    def _unregister(self) -> None:
        if self._loop is not None:
            self._loop.on_tick.discard(self._tick)
        if self._alarm is not None:
            self._loop.remove(self._alarm)
            self._alarm.close()
            self._alarm = None

    # -- the loop's turn
    def _tick(self) -> None:
        if not self.alive:
            return
        session, intake = self.session, self._intake
        session.check()
        if intake.inbox:
            self._deliver()
            if not self.alive:
                return
        now = monotonic()
        self._lease.tick(now)
        longest = self.place.reply_seconds
        if session.pipe.overdue(longest):
            error = RedisConnectionError(f"Redis has not answered for {longest:g} s")
            session.fail(error)
            raise error
        self._settlements.send(session, patient=True)
        limit = self.prefetch
        intake.turn(limit - len(self._held) - len(intake.inbox) if limit else 1 << 30, now)
        session.send()
        assert self._alarm is not None
        self._alarm.set(min(self._lease.next_at, intake.resume_at or inf))

    def _readable(self) -> None:
        self.session.take_in()  # tasks go to the pool before the next call goes to Redis
        if self._intake.inbox:
            self._deliver()

    def _deliver(self) -> None:
        inbox = self._intake.inbox
        limit = self.prefetch
        excess = min(len(self._held) + len(inbox) - limit, len(inbox)) if limit else 0
        if excess > 0:
            surplus = [inbox.pop() for _ in range(excess)][::-1]
            self._give_back([(one.tag, one) for one in surplus])
        consumed, on_delivery = self._consumed, self._on_delivery
        while inbox:
            taken = inbox.popleft()
            if taken.queue not in consumed:
                self._give_back([(taken.tag, taken)])
                continue
            delivery = self._take_up(taken)
            if delivery is not None:
                on_delivery(delivery)

    # -- what the lease and the intake ask
    def _lookup(self, exchange: str, routing_key: str) -> list[str]:
        """Where a lost consumer of kombu's own had its message from."""
        if not exchange:
            return [routing_key]
        with self.connection.clone() as connection:
            found: list[str] = connection.default_channel._lookup(exchange, routing_key)
        return found

    def _rule(self, queue: str) -> DeadLetters | None:
        """Others' queues have rules that this process does not know: their consumers apply them."""
        return self.rule(queue) if queue in self._consumed or queue in (self.dead_letters or {}) else None

    # -- the end
    def close(self) -> None:
        """Give everything back that is held, give up the lease, disconnect."""
        self.alive = False
        session = self.session
        try:
            if session.usable:
                session.pipe.patience = LEAVE_SECONDS
                self._give_back_all()
                self._lease.leave()
                session.wait()
        except (OSError, ReplyError) as error:
            logger.info("the connection broke before everything was given back: %s", error)
        self._end()

    def _give_back_all(self) -> None:
        self._consumed.clear()
        self._intake.consume(())
        self.session.wait()
        inbox = self._intake.inbox
        waiting = [(one.tag, one) for one in inbox]
        inbox.clear()
        held = list(self._held.items())
        self._held.clear()
        self._give_back([*held, *waiting])
        self.flush()

    def abandon(self) -> None:
        """Drop the connection; what is held stays leased to this worker's id."""
        self.alive = False
        session = getattr(self, "session", None)
        if session is not None:
            session.fail(RuntimeError("abandoned"))
            self._end()

    def _end(self) -> None:
        session = self.session
        self._intake.close()
        self._unregister()
        if session.usable:
            session.close()
        elif not session.inherited:
            handover.abandon(self._identity, session.worker)


def redis_link(
    settings: Settings, url: str, queues: Collection[Any], on_delivery: OnDelivery, options: Mapping[str, Any]
) -> RedisLink | None:
    """A link to Redis, not yet open; None where kombu's transport is wanted."""
    if not all(map(is_plain_queue, queues)):
        return None
    given = {**settings.broker_transport_options, **options}
    return RedisLink(place_for(settings, url), settings, url, queues, on_delivery, given)
