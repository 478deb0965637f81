"""The worker's side of results: stored in batches, without waiting, each batch answered before its messages
are settled.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from os.path import dirname, join
from typing import TYPE_CHECKING, Any, Protocol

from taskyard.broker.connection import without_password
from taskyard.result.meta import TASK_KEY_PREFIX
from taskyard.result.opening import OF_REDIS, global_prefix, refuse_unusable, scheme_of
from taskyard.settings import seconds

if TYPE_CHECKING:
    from taskyard.settings import Settings

logger = logging.getLogger(__name__)

#: (task id, JSON)
Result = tuple[str, bytes]
#: Results, what to call when they are stored, and their fence.
Batch = tuple[list[Result], Callable[[], None], int]

#: The most results in one call of the script.
_RESULTS_A_CALL = 200
#: Seconds without an answer after which the connection counts as lost.
_ANSWER_SECONDS = 15.0
_LONGEST_PAUSE = 10.0


class ResultStore(Protocol):
    """Stores results in the background of the loop."""

    def put(self, results: list[Result], stored: Callable[[], None], fence: int = 0) -> None:
        """Store them, then call back; kept and tried again while the store is away.

        `fence` says which try they are of (in 10^13) and when its message came (unix milliseconds), negative
        for one that came again: they do not take the place of what a later delivery has stored. 0 is for no
        fence.
        """

    def flush(self) -> None:
        """Send what was put in this turn."""

    @property
    def pending(self) -> int:
        """Batches that are not stored yet."""

    def close(self) -> None:
        """Close the connection."""


class NoStore:
    """No result store is configured."""

    pending = 0

    def put(self, results: list[Result], stored: Callable[[], None], fence: int = 0) -> None:
        """Nothing to keep."""
        stored()

    def flush(self) -> None:
        """Nothing to send."""

    def close(self) -> None:
        """Nothing to close."""


class RedisStore:
    """One connection for the loop: a script call for many results, never a wait."""

    def __init__(self, url: str, settings: Settings, loop: Any) -> None:
        self._url = url
        self._loop = loop
        self._settings = settings
        prefix = global_prefix(settings.result_backend_transport_options)
        self._prefix = (prefix + TASK_KEY_PREFIX).encode()
        failures = settings.result_failure_expires
        life = settings.result_expires_seconds()
        self._lives = [b"%d" % life, b"%d" % (life if failures is None else seconds(failures))]
        self._waiting: deque[Batch] = deque()
        self._sent: deque[list[Batch]] = deque()
        self._pipe: Any = None
        self._script = _load_script()
        self._pause = 0.0
        self._retry: Any = None
        self._watchdog = loop.call_repeatedly(1.0, self._check)

    @property
    def pending(self) -> int:
        """Batches that are not stored yet."""
        return len(self._waiting) + sum(len(batches) for batches in self._sent)

    def put(self, results: list[Result], stored: Callable[[], None], fence: int = 0) -> None:
        """Store with the others of this turn."""
        self._waiting.append((results, stored, fence))

    def flush(self) -> None:
        """Send what was put in this turn."""
        if not self._waiting or self._retry is not None:
            return
        try:
            if self._pipe is None:
                self._connect()
            while self._waiting:
                self._send_one_call()
            self._pipe.send()
        except Exception as error:
            self._lost(error)

    def _connect(self) -> None:
        from taskyard.broker.redis.pipe import Pipe

        self._pipe = Pipe(_connection(self._url, self._settings), lambda push: None)
        self._loop.add_reader(self._pipe.fileno(), self._readable)
        self._pause = 0.0

    def _send_one_call(self) -> None:
        keys: list[bytes] = []
        arguments = list(self._lives)
        batches: list[Batch] = []
        while self._waiting and len(keys) < _RESULTS_A_CALL:
            batch = self._waiting.popleft()
            batches.append(batch)
            fence = b"%d" % batch[2]
            for task_id, meta in batch[0]:
                keys.append(self._prefix + task_id.encode())
                arguments += (meta, fence)
        self._sent.append(batches)
        self._pipe.call_script(self._answered, self._script, keys, arguments)

    def _answered(self, reply: Any) -> None:
        from taskyard.broker.redis.resp import ErrorReply

        if isinstance(reply, ErrorReply):
            raise RuntimeError(str(reply))
        for _, stored, _ in self._sent.popleft():
            stored()

    def _readable(self) -> None:
        try:
            self._pipe.read()
        except Exception as error:
            self._lost(error)

    def _check(self) -> None:
        if self._pipe is not None and self._pipe.overdue(_ANSWER_SECONDS):
            self._lost(TimeoutError(f"no answer for {_ANSWER_SECONDS:g} s"))

    def _lost(self, error: Exception) -> None:
        """Keep everything that was not answered and try again after a pause."""
        if self._pipe is not None:
            self._loop.remove(self._pipe.fileno())
            self._pipe.close()
            self._pipe = None
        for batches in reversed(self._sent):
            self._waiting.extendleft(reversed(batches))
        self._sent.clear()
        self._pause = min(max(self._pause * 2, 0.2), _LONGEST_PAUSE)
        logger.warning(
            "result store %s is not available (%s): %d results are kept, next attempt in %.1f s",
            without_password(self._url),
            error,
            self.pending,
            self._pause,
        )
        if self._retry is None:
            self._retry = self._loop.call_later(self._pause, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self.flush()

    def close(self) -> None:
        """Close the connection; what is not stored is lost here and will run again."""
        self._watchdog.cancel()
        if self._pipe is not None:
            self._loop.remove(self._pipe.fileno())
            self._pipe.close()
            self._pipe = None


#: Settings that make a connection more than a socket with a password.
BEYOND_PLAIN = (
    "redis_backend_use_ssl", "redis_backend_credential_provider", "redis_client_name", "redis_db",
    "redis_host", "redis_port", "redis_username", "redis_password", "redis_socket_keepalive",
)  # fmt: skip


def _connection(url: str, settings: Settings) -> Any:
    """An unconnected connection to the store: our own where a plain one will do, else redis-py's."""
    from taskyard.broker.redis.plain import Address, PlainConnection

    address = None if any(settings[name] for name in BEYOND_PLAIN) else Address.of(url)
    if address is not None:
        return PlainConnection(address, connect_timeout=4, timeout=10)
    from taskyard.result.redis_connection import connection_pool

    pool = connection_pool(url, settings, socket_connect_timeout=4, socket_timeout=10)
    return pool.make_connection()


def _load_script() -> Any:
    from taskyard.broker.redis.scripts import read_script, script_of

    return script_of(read_script(join(dirname(__file__), "store.lua")))


def open_store(settings: Settings, loop: Any) -> ResultStore:
    """The store that the settings name, if the worker's parent stores for its children there."""
    url = settings.effective_result_backend()
    if not isinstance(url, str):
        return NoStore()
    refuse_unusable(url, settings)
    if not stored_by_parent(settings):
        return NoStore()
    return RedisStore(url, settings, loop)


def stored_by_parent(settings: Settings) -> bool:
    """Whether children hand their results to the parent: on Redis, as JSON that its script can read."""
    url = settings.effective_result_backend()
    if not isinstance(url, str) or settings.result_serializer != "json" or settings.result_compression:
        return False
    return scheme_of(url) in OF_REDIS
