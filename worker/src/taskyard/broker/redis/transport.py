"""kombu's transport: owns the session and its lease, and connects them to the caller's loop."""

import logging
import ssl
from queue import Empty
from time import monotonic
from typing import Any

from kombu.transport import redis as kombu_redis

from taskyard.broker.envelope import DeadLetters
from taskyard.broker.leases import LeaseRules
from taskyard.broker.qos import Held
from taskyard.broker.redis import handover
from taskyard.broker.redis.channel import Channel
from taskyard.broker.redis.errors import RedisConnectionError, ReplyError
from taskyard.broker.redis.lease import Lease, Routes
from taskyard.broker.redis.poller import Poller
from taskyard.broker.redis.session import Session, reply_seconds

logger = logging.getLogger(__name__)

HOUSEKEEPING_SECONDS = 1.0


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    """Redis on kombu's own keys, without kombu's holes.

    Transport options, beside kombu's: ``lease_seconds`` (30) is how long a silent worker keeps its messages
    (ten at most if its connection is closed, and the server tells so),
    ``worker_id`` begins the name of its lease, ``dead_letters`` maps queues to ``{"queue", "maxDeliveries"}``
    (see ``envelope.dead_letters``), ``still_running`` is a callable that returns the delivery tags a worker
    still works on after its connection broke (all else is given back at once), ``wake_up`` is ``"tracking"``
    or ``"poll"``.
    """

    Channel = Channel
    connection_errors = tuple(
        error for error in kombu_redis.Transport.connection_errors if error is not KeyError
    )
    channel_errors = (*kombu_redis.Transport.channel_errors, ReplyError)

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.cycle = Poller(self)
        self.session: Session | None = None
        self.lease: Lease
        self.adopted: dict[str, Held] = {}
        self._reply_seconds = reply_seconds(client.transport_options)
        self._consumers: list[Any] = []
        self._timers: list[Any] = []

    @property
    def in_turn(self) -> bool:
        """Whether settlements are sent soon anyway: in a loop, or while messages are handed over."""
        return self.cycle.loop is not None or self.cycle.in_turn

    # -- session

    def session_for(self, channel: Any) -> Session:
        """The session, opened when the first channel consumes."""
        if self.session is None:
            self._open_session(channel)
        assert self.session is not None
        self.session.check()
        if channel not in self._consumers:
            self._consumers.append(channel)
        return self.session

    def _open_session(self, channel: Any) -> None:
        options = self.client.transport_options
        rules = LeaseRules.of(options, channel.visibility_timeout)
        session = Session(
            channel._get_pool().make_connection(),
            channel.names,
            worker_id=options.get("worker_id"),
            tracking=options.get("wake_up", "tracking") == "tracking",
        )
        routes = Routes(list_of=channel.list_of, lookup=channel._lookup, rule=self._rule)
        self.lease = Lease(session, rules, routes)
        self.adopted = handover.begin(self._identity(), self.lease, options, channel.list_of)
        channel.qos._delivered.update(self.adopted)
        self.session = session

    def _identity(self) -> handover.Identity:
        client = self.client
        prefix = client.transport_options.get("global_keyprefix", "")
        return client.hostname, client.port, client.virtual_host, tuple(client.alt), prefix

    def _rule(self, queue: str) -> DeadLetters | None:
        """Others' queues have rules that this process does not know: their consumers apply them."""
        for channel in self._consumers:
            if queue in channel._active_queues or queue in (channel.dead_letters or {}):
                rule: DeadLetters = channel.rule(queue)
                return rule
        return None

    def consuming(self) -> None:
        """The set of consumed queues changed."""
        queues = [queue for channel in self._consumers for queue in channel._receivers]
        self.lease.watch_schedules(queues)

    def release(self, channel: Any) -> None:
        """A channel closed; with the last one that consumed the session ends."""
        if channel not in self._consumers:
            return
        self._consumers.remove(channel)
        session = self.session
        if self._consumers or session is None:
            return
        self.session = None
        if session.usable:
            try:
                self.lease.leave()
                session.wait()
            except (*self.connection_errors, ReplyError) as error:
                logger.debug("the lease is left to expire: %s", error)
        if session.usable:
            session.close()
        elif not session.inherited:
            handover.abandon(self._identity(), session.worker)

    def check_replies(self) -> None:
        """Raise when the server has been silent for too long."""
        session = self.session
        if session is not None and session.pipe.overdue(self._reply_seconds):
            error = RedisConnectionError(f"Redis has not answered for {self._reply_seconds:g} s")
            session.fail(error)
            raise error

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Hand over what comes; raises ``socket.timeout`` after ``timeout`` seconds without a message."""
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            try:
                self.cycle.get(None, timeout=None if deadline is None else max(0.0, deadline - monotonic()))
            except Empty:
                if deadline is not None and monotonic() >= deadline:
                    raise TimeoutError from None
            else:
                return

    # -- event loop

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let a loop with kombu's hub interface drive the channels (``on_tick``, readers, timers)."""
        self._cancel_timers()
        self.cycle.attach(loop)
        loop.on_tick.add(self._tick)
        options = self.client.transport_options
        every = loop.call_repeatedly
        health = options.get("health_check_interval", kombu_redis.DEFAULT_HEALTH_CHECK_INTERVAL)
        self._timers = [every(HOUSEKEEPING_SECONDS, self.cycle.maybe_refresh_binding_expiry)]
        if health:
            self._timers.append(every(health, self.cycle.maybe_check_subclient_health))
        reauth = options.get("reauth_check_interval", kombu_redis.DEFAULT_REAUTH_CHECK_INTERVAL)
        self._timers.append(every(reauth, self.cycle.maybe_reauth))

    def unregister_from_event_loop(self, connection: Any, loop: Any) -> None:
        """Leave the loop."""
        self._cancel_timers()
        loop.on_tick.discard(self._tick)

    def _tick(self) -> None:
        self.cycle.turn()

    def on_readable(self, fileno: int) -> None:
        """Handle what came for one of our descriptors."""
        self.cycle.on_readable(fileno)

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = []

    def close_connection(self, connection: Any) -> None:
        """Close all channels; what they hold goes back."""
        self._cancel_timers()
        loop = self.cycle.loop
        if loop is not None:
            loop.on_tick.discard(self._tick)
        super().close_connection(connection)


class TlsTransport(Transport):
    """The transport for ``rediss://`` URLs: checks the server's certificate unless the URL says otherwise.

    The scheme is lost once kombu has been told which class to use, so the class stands for it.
    """

    def __init__(self, client: Any, **kwargs: Any) -> None:
        if not client.ssl:
            client.ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
        super().__init__(client, **kwargs)


class SentinelChannel(Channel, kombu_redis.SentinelChannel):  # type: ignore[misc]
    """A channel to the master that Sentinel names."""

    from_transport_options = (*kombu_redis.SentinelChannel.from_transport_options, "dead_letters")

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> Any:
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # A Sentinel that does not answer is not asked again for seconds: the next one is.
        own = getattr(self, "sentinel_kwargs", None)
        if own is None:
            given = self._connparams(asynchronous).items()
            own = {name: value for name, value in given if name.startswith("socket_")}
        self.sentinel_kwargs = {"retry": Retry(NoBackoff(), 0), **own}
        return super()._sentinel_managed_pool(asynchronous)


class SentinelTransport(Transport):
    """The transport for ``sentinel://`` URLs; ``master_name`` is a transport option."""

    default_port = 26379
    Channel = SentinelChannel
