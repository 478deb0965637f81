"""How a channel gets its messages: takes as many as there is room for, and sleeps until there are more."""

import logging
from collections import deque
from collections.abc import Iterable
from itertools import repeat
from random import random
from time import monotonic
from typing import Any, Final

import msgspec

from taskyard.broker.held import Held
from taskyard.broker.redis.names import json_text
from taskyard.broker.redis.pipe import as_exception
from taskyard.broker.redis.resp import ErrorReply
from taskyard.broker.redis.session import Session

logger = logging.getLogger(__name__)

BATCH: Final = 100
"""Most messages that one call takes, so that a crowd of consumers shares a queue."""

PAUSE_EACH: Final = 0.01
"""Seconds that a consumer which keeps coming too late stays away, for each worker there is.

The server tells all who watch, and one gets the message. Staying away in proportion to the crowd bounds what
the others cost to about a hundred looks a second together, and somebody is always about to look again.
"""

ENOUGH_BYTES: Final = 1 << 20
"""No more of long messages in one call: they would keep Redis from its other work, and fill our memory."""

LONGEST_PAUSE: Final = 1.0

LEAST_POLL: Final = 0.05
"""Seconds between looks of a few workers where the server cannot tell about new messages."""

_ENOUGH: Final = b"%d" % ENOUGH_BYTES

CALM: Final = 1.0
"""After so many seconds without news a consumer forgets that it came too late before."""


class Taken(Held, frozen=True, gc=False):
    """A message that is leased but not yet handed to a consumer."""

    queue: str
    text: bytes
    tag: str


class Intake:
    """Takes for one channel.

    States: *taking* (a call is on its way), *watching* (the server tells when a list changes), *pausing*
    (until ``resume_at``), else idle: there is no room or no queue.
    """

    def __init__(self, session: Session, cycle: Any, *, fair: bool) -> None:
        self.session = session
        self.inbox: deque[Taken] = deque()
        self.resume_at: float | None = None
        self._cycle = cycle
        self._fair = b"1" if fair else b"0"
        self._queues: list[str] = []
        self._lists: dict[str, list[bytes]] = {}
        self._names: dict[str, bytes] = {}
        self._keys: frozenset[bytes] = frozenset()
        self._order: list[str] = []
        self._more = False
        self._taking = False
        self._asked = 0
        self._misses = 0
        self._watching = False
        self._watching_since = 0.0
        session.add_sleeper(self)

    @property
    def waiting_for(self) -> int:
        """How many messages may still arrive from the call that is on its way."""
        return self._asked if self._taking else 0

    def consume(self, queues: Iterable[str]) -> None:
        """Take from these queues from now on."""
        names = self.session.names
        self._queues = list(queues)
        self._lists = {queue: names.lists(queue) for queue in self._queues}
        self._names = {queue: json_text(queue) for queue in self._queues}
        self._keys = frozenset(key for keys in self._lists.values() for key in keys)
        self._more = bool(self._queues)
        self.resume_at = None

    def woken(self, keys: set[bytes] | None) -> None:
        """Some keys changed; ``None`` means all of them."""
        if self._watching and (keys is None or not self._keys.isdisjoint(keys)):
            self._watching = False
            self._more = True
            if monotonic() - self._watching_since > CALM:
                self._misses = 0

    def look(self) -> None:
        """Make sure that nothing was overlooked."""
        if self._watching:
            self._watch()

    def turn(self, room: int, now: float) -> None:
        """Queue a call that takes up to ``room`` messages, if there may be some."""
        if self.resume_at is not None and now >= self.resume_at:
            self.resume_at = None
            self._look_again()
        if self._more and not self._taking and room > 0:
            self._take(min(room, BATCH))

    def _look_again(self) -> None:
        if self.session.tracking:
            self._watch()
        else:
            self._more = True

    def _take(self, count: int) -> None:
        self._order = list(self._cycle.consume(len(self._queues)))
        if not self._order:
            return
        self._more = False
        self._taking = True
        self._asked = count
        self.take(self._taken, self._order, count)

    def take(self, on_reply: Any, queues: list[str], count: int) -> None:
        """Queue the call that takes; the reply is for ``unpack``."""
        session = self.session
        names = session.names
        keys = [names.unacked, names.unacked_index, names.workers, session.lease]
        arguments = [b"%d" % count, session.worker.encode(), b"%d" % len(names.steps), self._fair, _ENOUGH]
        for queue in queues:
            keys += self._lists.get(queue) or names.lists(queue)
            arguments.append(self._names.get(queue) or json_text(queue))
        session.pipe.call_script(on_reply, session.scripts.take, keys, arguments)

    def unpack(self, reply: Any, queues: list[str]) -> list[Taken]:
        """The messages of a reply."""
        if isinstance(reply, ErrorReply):
            raise as_exception(reply)
        taken: list[Taken] = []
        for number, tags, texts in zip(reply[::3], reply[1::3], reply[2::3], strict=True):
            taken += map(Taken, repeat(queues[number - 1]), texts, str(tags, "utf-8").split("\n"))
        return taken

    def _taken(self, reply: Any) -> None:
        self._received(self.unpack(reply, self._order))

    def _received(self, taken: list[Taken]) -> None:
        self._taking = False
        self.inbox.extend(taken)
        if len(self._order) > 1:
            for queue in dict.fromkeys(one.queue for one in taken):
                self._cycle.rotate(queue)
        if len(taken) >= self._asked or sum(len(one.text) for one in taken) >= ENOUGH_BYTES:
            self._misses = 0
            self._more = True
        elif taken:
            self._misses = 0
            self._sleep(0.0)
        else:
            self._missed()

    def _missed(self) -> None:
        """Nothing was there. A crowd that wakes for one message must not wake for every one."""
        self._misses = min(self._misses + 1, 10)
        longest = min(LONGEST_PAUSE, PAUSE_EACH * self.session.crowd)
        growing = 0.001 * 2**self._misses
        if not self.session.tracking:
            self._sleep(min(max(LEAST_POLL, longest), growing) * (0.5 + random() / 2))
        elif self._misses > 2:
            self._sleep(min(longest, growing) * random())
        else:
            self._sleep(0.0)

    def _sleep(self, seconds: float) -> None:
        if not self._queues:
            return
        if self.session.tracking and not seconds:
            self._watch()
        else:
            self.resume_at = monotonic() + seconds

    def _watch(self) -> None:
        self._watching = True
        self._watching_since = monotonic()
        self.session.watch(self._watched, self._keys)

    def _watched(self, reply: Any) -> None:
        if isinstance(reply, ErrorReply):
            raise as_exception(reply)
        if reply:
            self._watching = False
            self._more = bool(self._queues)

    def close(self) -> None:
        """Take nothing more."""
        self._queues = []
        self._more = False
        self.resume_at = None
        self.session.remove_sleeper(self)


def split_record(record: bytes) -> tuple[bytes, str] | None:
    """Text (it may be anything) and queue of a record that ``take.lua`` wrote into ``unacked``."""
    text, mark, queue = record[1:-1].rpartition(b', "", ')
    if not mark:
        return None
    try:
        name = msgspec.json.decode(queue)
    except ValueError:
        return None
    return (text, name) if isinstance(name, str) else None
