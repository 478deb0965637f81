"""Taskyard's Redis transport for programs that stay with Celery: one import and another scheme in the URL.

    import taskyard.contrib.redis_transport
    app = Celery("shop", broker="taskyard-redis://localhost/0")

``taskyard-rediss://`` is TLS, ``taskyard-sentinel://`` is Sentinel. The keys are kombu's, so that clients and
workers with ``redis://`` go on beside it. A message is taken and recorded in one step, and a worker that is
lost gives back what it held after ``lease_seconds`` of ``broker_transport_options`` (30), however long its
tasks run.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from kombu.transport import TRANSPORT_ALIASES

from taskyard.broker.leases import LeaseRules
from taskyard.broker.redis.lease import beat_operands
from taskyard.broker.redis.session import Session
from taskyard.broker.redis.transport import SentinelTransport, TlsTransport, Transport

logger = logging.getLogger(__name__)


class _Heart:
    """The beat of a worker whose loop a task may hold up, as in the pool solo: from a thread beside it."""

    def __init__(self, client: Any, session: Session, rules: LeaseRules) -> None:
        self._client = client
        self._session = session
        self._rules = rules
        self._stopped = threading.Event()
        threading.Thread(target=self._beat, name="taskyard-heart", daemon=True).start()

    def _beat(self) -> None:
        session = self._session
        keys, arguments = beat_operands(session, self._rules, renew=True)
        script = session.scripts.beat.source
        while not self._stopped.wait(self._rules.beat) and session.usable:
            try:
                self._client.eval(script, len(keys), *keys, *arguments)
            except Exception as error:
                logger.warning("a beat was not heard: %s", error)
        self._client.close()

    def stop(self) -> None:
        """The session has ended."""
        self._stopped.set()


class _Beating:
    """Gives a transport's session a heart."""

    _heart: _Heart | None = None
    session: Session | None
    lease: Any

    def _open_session(self, channel: Any) -> None:
        super()._open_session(channel)  # type: ignore[misc]
        assert self.session is not None
        self._heart = _Heart(channel._create_client(), self.session, self.lease.rules)

    def release(self, channel: Any) -> None:
        """With the last channel that consumes the heart stops, before the lease is given up."""
        if self._heart is not None and self._consumers == [channel]:  # type: ignore[attr-defined]
            self._heart.stop()
            self._heart = None
        super().release(channel)  # type: ignore[misc]


class RedisTransport(_Beating, Transport):
    """``taskyard-redis://``"""


class RedisTlsTransport(_Beating, TlsTransport):
    """``taskyard-rediss://``"""


class RedisSentinelTransport(_Beating, SentinelTransport):
    """``taskyard-sentinel://``"""


for _scheme, _class in (
    ("taskyard-redis", RedisTransport),
    ("taskyard-rediss", RedisTlsTransport),
    ("taskyard-sentinel", RedisSentinelTransport),
):
    TRANSPORT_ALIASES[_scheme] = f"{__name__}:{_class.__name__}"
