"""One session with a broker: the pipe on which messages are taken and settled, under one lease."""

import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from threading import get_ident
from typing import Any, Final

from taskyard.broker.redis.errors import RedisConnectionError
from taskyard.broker.redis.names import Names
from taskyard.broker.redis.pipe import OnReply, Pipe, as_exception, check
from taskyard.broker.redis.resp import ErrorReply, Push
from taskyard.broker.redis.scripts import Scripts, scripts

logger = logging.getLogger(__name__)

OLDEST_SERVER: Final = (6, 2)
"""RPOP with a count, SMISMEMBER and ZMSCORE came with Redis 6.2."""

_REPLY_SECONDS: Final = 15.0


def reply_seconds(options: Mapping[str, Any]) -> float:
    """A reply that takes longer means that the connection is dead; the transport option is kombu's."""
    return float(options.get("socket_timeout") or _REPLY_SECONDS)


class Session:
    """The connection on which a transport takes and settles; all its channels share it.

    After an error it is broken for good: everything that was held is left to the lease, and the transport
    raises until its owner builds a new connection.
    """

    def __init__(self, connection: Any, names: Names, *, worker_id: str | None, tracking: bool) -> None:
        self.names = names
        self.worker = f"{worker_id or f'{socket.gethostname()}-{os.getpid()}'}.{os.urandom(6).hex()}"
        self.lost = 0
        self.crowd = 1
        """About how many workers there are: the more, the less often each one has to look."""
        self.error: Exception | None = None
        self.before_close: Callable[[], None] | None = None
        self._owner = os.getpid(), get_ident()
        self._sleepers: list[Any] = []
        self.pipe = Pipe(connection, self._pushed)
        try:
            self._greet(tracking)
        except BaseException:
            self.pipe.close()
            raise

    def _greet(self, tracking: bool) -> None:
        version = self._version()
        if version is not None and version < OLDEST_SERVER:
            from kombu.exceptions import VersionMismatch

            raise VersionMismatch(
                f"Redis {'.'.join(map(str, version))} is too old: Taskyard needs 6.2, upgrade the server"
            )
        self.scripts: Scripts = scripts(flags=version is not None and version >= (7,))
        replies: list[Any] = []
        for name in Scripts.__slots__:
            self.pipe.call(replies.append, b"SCRIPT", b"LOAD", getattr(self.scripts, name).source)
        self.pipe.call(replies.append, b"CLIENT", b"ID")
        self.pipe.wait()
        number = replies.pop()
        if isinstance(number, int):
            self.worker += f":{number}"
        self.lease = self.names.lease(self.worker)
        #: What ``settle.lua`` is told first.
        self.settled_keys = [self.names.unacked, self.names.unacked_index, self.lease]
        for reply in replies:
            check(reply)
        self.tracking = tracking and self._track()

    def _version(self) -> tuple[int, ...] | None:
        replies: list[Any] = []
        self.pipe.call(replies.append, b"INFO", b"server")
        self.pipe.wait()
        if isinstance(replies[0], ErrorReply):
            error = as_exception(replies[0])
            if isinstance(error, RedisConnectionError):
                raise error
            return None  # a hosted server may refuse INFO; it is hardly an old one
        for line in bytes(replies[0]).splitlines():
            if line.startswith(b"redis_version:"):
                return tuple(int(part) for part in line.partition(b":")[2].split(b".")[:2] if part.isdigit())
        return None

    def _track(self) -> bool:
        """Ask the server to tell once when a watched key changes; False where it cannot."""
        replies: list[Any] = []
        self.pipe.call(replies.append, b"HELLO", b"3")
        self.pipe.call(replies.append, b"CLIENT", b"TRACKING", b"ON", b"OPTIN", b"NOLOOP")
        self.pipe.wait()
        for reply in replies:
            if isinstance(reply, ErrorReply):
                logger.info("this Redis does not tell about new messages, so it is polled: %s", reply)
                return False
        return True

    def _pushed(self, push: Push) -> None:
        if push and push[0] == b"invalidate":
            self._wake(None if push[1] is None else set(push[1]))

    def _wake(self, keys: set[bytes] | None) -> None:
        for sleeper in self._sleepers:
            sleeper.woken(keys)

    def wake(self) -> None:
        """Look into the queues again: the server does not tell about what was put there on this session."""
        self._wake(None)

    def add_sleeper(self, sleeper: Any) -> None:
        """Tell ``sleeper.woken(keys)`` about changed keys; ``None`` means all."""
        self._sleepers.append(sleeper)

    def remove_sleeper(self, sleeper: Any) -> None:
        """Tell it no more."""
        if sleeper in self._sleepers:
            self._sleepers.remove(sleeper)

    def look(self) -> None:
        """Have all sleepers look again, should the server have failed to tell."""
        for sleeper in self._sleepers:
            sleeper.look()

    def watch(self, on_reply: OnReply, keys: Iterable[bytes]) -> None:
        """Be told once when one of the keys changes; the reply is how many of them exist already."""
        if self.tracking:
            self.pipe.call(check, b"CLIENT", b"CACHING", b"YES")
        self.pipe.call(on_reply, b"EXISTS", *keys)

    def settle(self, calls: list[tuple[list[bytes], list[bytes]]]) -> None:
        """Queue calls of ``settle.lua``."""
        for keys, arguments in calls:
            handler = self._moved if keys else self.settled
            self.pipe.call_script(handler, self.scripts.settle, [*self.settled_keys, *keys], arguments)

    def _moved(self, reply: Any) -> None:
        self.settled(reply)
        self.wake()

    def settled(self, reply: Any) -> None:
        """The answer of ``settle.lua``: how many leases were lost before."""
        check(reply)
        if reply:
            self.lost += reply
            logger.warning(
                "%d message(s) were settled after their lease was lost: they are delivered again (%d so far)",
                reply,
                self.lost,
            )

    def send(self) -> None:
        """Write what is queued; any error breaks the session and is raised, here and in the two below."""
        self._guarded(self.pipe.send)

    def read(self) -> None:
        """Handle the replies that have come."""
        self._guarded(self.pipe.read)

    def take_in(self) -> None:
        """The same; what they make necessary is sent later, with what else there is."""
        self._guarded(self.pipe.take_in)

    def wait(self) -> None:
        """Send what is queued and handle the replies to all of it."""
        self._guarded(self.pipe.wait)

    def _guarded(self, step: Callable[[], object]) -> None:
        self.check()
        try:
            step()
        except Exception as error:
            self.fail(error)
            raise

    def check(self) -> None:
        """Raise what broke the session, if anything did."""
        if self.error is not None:
            raise RedisConnectionError(f"the connection to Redis was lost: {self.error}") from self.error

    def fail(self, error: Exception) -> None:
        """Declare the session broken."""
        if self.error is None:
            self.error = error
            self.close()

    def close(self) -> None:
        """Close the connection; the lease is another matter."""
        if self.before_close is not None:
            self.before_close()
            self.before_close = None
        self.pipe.close()

    @property
    def inherited(self) -> bool:
        """Whether this process got the session by a fork: it is the parent's and must be left alone."""
        return self._owner[0] != os.getpid()

    @property
    def mine(self) -> bool:
        """Whether this is the thread that may use the connection."""
        return self._owner[1] == get_ident()

    @property
    def usable(self) -> bool:
        """Whether commands can still be sent."""
        return self.error is None and not self.pipe.closed and not self.inherited
