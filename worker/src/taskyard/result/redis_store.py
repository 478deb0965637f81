"""The worker's results in Redis, by a connection of their own: many in one call, with what chords are told,
never a wait.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from os.path import dirname, join
from typing import TYPE_CHECKING, Any

from taskyard.broker.connection import without_password
from taskyard.result.chord_parts import Brought, PartCalls, is_claimed
from taskyard.result.meta import TASK_KEY_PREFIX
from taskyard.result.opening import global_prefix
from taskyard.settings.effective import seconds

if TYPE_CHECKING:
    from taskyard.broker.link import Link
    from taskyard.result.store import Batch, Complete
    from taskyard.settings import Settings

logger = logging.getLogger("taskyard.result.store")

#: The most results in one call of the script.
RESULTS_A_CALL = 200
#: Seconds without an answer after which the connection counts as lost.
_ANSWER_SECONDS = 15.0
_LONGEST_PAUSE = 10.0


class _Sent:
    """What one turn's calls carry."""

    __slots__ = ("batches", "complete", "unanswered")

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.unanswered = 0
        #: Group -> token, of chords whose bodies are to be sent here.
        self.complete: dict[str, str] = {}


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
        self.lives = [b"%d" % life, b"%d" % (life if failures is None else seconds(failures))]
        self._waiting: deque[Batch] = deque()
        self._sent: deque[_Sent] = deque()
        self._parts: PartCalls | None = None
        self.complete: Complete | None = None
        self._pipe: Any = None
        self.script = _load_script()
        self._pause = 0.0
        self._retry: Any = None
        self._watchdog = loop.call_repeatedly(1.0, self._check)

    @property
    def pending(self) -> int:
        """Batches that are not stored yet."""
        return len(self._waiting) + sum(len(sent.batches) for sent in self._sent)

    @property
    def away(self) -> bool:
        """Whether the store is not available, as far as is known."""
        return self._retry is not None

    def put(self, batch: Batch) -> None:
        """Store with the others of this turn."""
        self._waiting.append(batch)

    def link_open(self, link: Link) -> None:
        """Results go by a connection of their own."""

    def link_lost(self) -> None:
        """They went by a connection of their own."""

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
        from taskyard.result.redis_plain import connection_to

        self._pipe = Pipe(connection_to(self._url, self._settings), lambda push: None)
        self._loop.add_reader(self._pipe.fileno(), self._readable)
        self._pause = 0.0

    def _send_one_call(self) -> None:
        keys: list[bytes] = []
        arguments = list(self.lives)
        sent = _Sent()
        chords: dict[str, list[Brought]] = {}
        while self._waiting and len(sent.batches) < RESULTS_A_CALL and len(keys) < RESULTS_A_CALL:
            batch = self._waiting.popleft()
            sent.batches.append(batch)
            self.pack(batch, keys, arguments)
            if batch.brought is not None:
                chords.setdefault(batch.brought.part.group_id, []).append(batch.brought)
        self._sent.append(sent)
        if keys:
            sent.unanswered += 1
            self._pipe.call_script(partial(self._answered, sent), self.script, keys, arguments)
        if chords:
            self._tell_chords(sent, chords)

    def pack(self, batch: Batch, keys: list[bytes], arguments: list[bytes]) -> None:
        """Add the script's keys and arguments for the results; before these arguments come `lives`."""
        fence = b"%d" % batch.fence
        for task_id, meta in batch.results:
            keys.append(self._prefix + task_id.encode())
            arguments += (meta, fence)

    def _tell_chords(self, sent: _Sent, chords: dict[str, list[Brought]]) -> None:
        """After their results, so that whoever gets the body finds these."""
        if self._parts is None:
            self._parts = PartCalls(self._settings)
        for brought in chords.values():
            sent.unanswered += 1
            told = partial(self._told, sent, brought)
            self._pipe.call_script(told, self._parts.script, *self._parts.call(brought))

    def _told(self, sent: _Sent, brought: list[Brought], reply: Any) -> None:
        if isinstance(reply, list) and is_claimed(reply):
            sent.complete[brought[0].part.group_id] = brought[0].token
        self._answered(sent, reply)

    def _answered(self, sent: _Sent, reply: Any) -> None:
        from taskyard.broker.redis.resp import ErrorReply

        if isinstance(reply, ErrorReply):
            raise RuntimeError(str(reply))
        sent.unanswered -= 1
        if sent.unanswered:
            return
        self._sent.remove(sent)
        for batch in sent.batches:
            if batch.brought is None or batch.brought.part.group_id not in sent.complete:
                batch.stored()
        self._complete(sent)

    def _complete(self, sent: _Sent) -> None:
        """Have the bodies sent of chords that are complete; only then their last parts are settled."""
        for group_id, token in sent.complete.items():
            last = [each for each in sent.batches if each.brought and each.brought.part.group_id == group_id]
            callbacks = [batch.stored for batch in last]
            brought = last[-1].brought
            assert brought is not None
            if self.complete is None:
                _call_all(callbacks)
            else:
                self.complete(brought, token, partial(_call_all, callbacks))

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
        for sent in reversed(self._sent):
            self._again(sent)
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

    def _again(self, sent: _Sent) -> None:
        """What was not answered waits again, and may have been done before."""
        self._complete(sent)
        for batch in reversed(sent.batches):
            brought = batch.brought
            if brought is not None:
                if brought.part.group_id in sent.complete:
                    continue
                brought.part.again = True
            self._waiting.appendleft(batch)

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


def _call_all(callbacks: list[Callable[[], None]]) -> None:
    for callback in callbacks:
        callback()


def _load_script() -> Any:
    from taskyard.broker.redis.scripts import read_script, script_of

    return script_of(read_script(join(dirname(__file__), "store.lua")))
