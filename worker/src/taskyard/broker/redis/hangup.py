"""Who has hung up: workers that are silent, and whose connections the server does not know any more.

A worker that was killed is silent, and so is one whose machine stands still. But of the first one its kernel
has closed the connection, whose number is a part of the session's name: the server is asked for it long
before the lease has ended. A process that goes on, and has lost its connection only, connects again meanwhile
and takes what it holds with it (handover).
"""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from taskyard.broker.redis.names import connection_of
from taskyard.broker.redis.pipe import check
from taskyard.broker.redis.resp import ErrorReply
from taskyard.broker.redis.session import Session

logger = logging.getLogger(__name__)


class Hangups:
    """Marks the workers that are gone as silent for ever, so that they are found lost.

    Begins when the session is `patience` seconds old: after an outage of the server, or of what leads to it,
    the others need time to connect again. A server that does not know our own connection by its number, or
    does not let us ask, is asked no more; the lease alone counts then.
    """

    def __init__(self, session: Session, patience: float) -> None:
        self._session = session
        self._own = connection_of(session.worker.encode())
        self._begins_at = monotonic() + patience

    def look(self, silent: list[bytes], on_gone: Callable[[], None]) -> None:
        """Queue the question which of the silent workers are gone; with any, `on_gone` is called."""
        if self._own is None or monotonic() < self._begins_at:
            return
        asked = {number: worker for worker in silent if (number := connection_of(worker)) is not None}
        if asked:
            self._session.pipe.call(
                lambda reply: self._told(asked, reply, on_gone), b"CLIENT", b"LIST", b"ID", self._own, *asked
            )

    def _told(self, asked: dict[bytes, bytes], reply: Any, on_gone: Callable[[], None]) -> None:
        known = set() if isinstance(reply, ErrorReply) else {_number(line) for line in reply.splitlines()}
        if self._own not in known:
            logger.info("this Redis does not say whose connection is closed: %.200r", reply)
            self._own = None
            return
        gone = [worker for number, worker in asked.items() if number not in known]
        if gone:
            operands = [each for worker in gone for each in (b"0", worker)]
            self._session.pipe.call(check, b"ZADD", self._session.names.workers, b"XX", *operands)
            on_gone()


def _number(line: bytes) -> bytes:
    """Of a line as `id=17 addr=...`."""
    return line.partition(b" ")[0].removeprefix(b"id=")
