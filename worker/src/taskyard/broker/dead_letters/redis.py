"""Dead letters on Redis: ordinary messages in the lists of a queue."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from taskyard.broker.dead_letters.letter import DeadLetter, revive
from taskyard.broker.dead_letters.store import ScannedStore, destination, from_envelope
from taskyard.broker.envelope import dumps

if TYPE_CHECKING:
    from kombu import Connection

_PAGE: Final = 200

#: KEYS: dead-letter list, list to go to (none to delete). ARGV: text, new text. Both steps or none.
_MOVE: Final = """
if redis.call('LREM', KEYS[1], -1, ARGV[1]) == 0 then return 0 end
if KEYS[2] then redis.call('LPUSH', KEYS[2], ARGV[2]) end
return 1
"""


class RedisDeadLetters(ScannedStore):
    """Moves by a script, so that a letter is always in exactly one list."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel: Any = connection.channel()
        self._redis: Any = self._channel.plain
        self._move = self._redis.register_script(_MOVE)

    def size(self, queue: str) -> int:
        """Over all priorities."""
        return int(self._channel._size(queue))

    def scan(self, queue: str) -> Iterator[tuple[Any, DeadLetter]]:
        """Oldest first: the right end of a list is the one that is served next."""
        for key in self._channel.names.lists(queue):
            end = -1
            while True:
                texts = self._redis.lrange(key, end - _PAGE + 1, end)
                for text in reversed(texts):
                    yield (key, text), from_envelope(queue, text)[0]
                if len(texts) < _PAGE:
                    break
                end -= _PAGE

    def put_back(self, queue: str, found: Sequence[tuple[Any, DeadLetter]], target: str | None) -> int:
        """One call of the script for each, in one round trip."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for (key, text), letter in found:
                back = destination(letter, target)
                envelope = revive(from_envelope(queue, text)[1], back)
                self._move(
                    [key, self._channel.list_of(back, envelope)], [text, dumps(envelope)], client=pipeline
                )
            return sum(pipeline.execute())

    def remove(self, queue: str, found: Sequence[tuple[Any, DeadLetter]]) -> int:
        """One call of the script for each, in one round trip."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for (key, text), _ in found:
                self._move([key], [text], client=pipeline)
            return sum(pipeline.execute())

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(Exception):
            self._connection.close()
