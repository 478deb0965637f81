"""Calls that do other work on the broker's Redis and then acknowledge: both, or neither if the work fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from taskyard.broker.redis.errors import RedisConnectionError
from taskyard.broker.redis.pipe import as_exception
from taskyard.broker.redis.resp import ErrorReply
from taskyard.broker.redis.scripts import joint_script

if TYPE_CHECKING:
    from taskyard.broker.delivery import Delivery
    from taskyard.broker.redis.link import RedisLink

#: Called with what went wrong, or None; deliveries that were acknowledged are settled by `ack` as ever.
Done = Callable[[Exception | None], None]


class JointCalls:
    """A script's calls on a link's connection; they leave with what else the link sends in its turn."""

    def __init__(self, link: RedisLink, work: bytes, database: int, own: int) -> None:
        """`work` is the text of a script, which finds its keys in that database; the link's is its `own`."""
        self._link = link
        self._script = joint_script(work)
        # A server without SELECT in scripts will do where there is only one database.
        self._databases = [b"", b""] if database == own else [b"%d" % database, b"%d" % own]

    @property
    def usable(self) -> bool:
        """Whether the connection is not known to be lost."""
        return self._link.session.usable

    def call(
        self, keys: list[bytes], arguments: list[bytes], deliveries: Iterable[Delivery | None], done: Done
    ) -> None:
        """Queue one call; of the deliveries those are acknowledged that this link holds.

        `done` is not called if the connection is lost before the answer.
        """
        link = self._link
        held, session = link.holds, link.session
        tags = [each.tag for each in deliveries if each is not None and each.link is link and held(each.tag)]
        session.pipe.call_script(
            partial(self._answered, tags, done),
            self._script,
            [*session.settled_keys, *keys],
            [*self._databases, b"%d" % len(tags), *[tag.encode() for tag in tags], *arguments],
        )

    def _answered(self, tags: list[str], done: Done, reply: Any) -> None:
        if isinstance(reply, ErrorReply):
            error = as_exception(reply)
            done(error)
            if isinstance(error, RedisConnectionError):
                raise error
            return
        link = self._link
        link.session.settled(reply)
        link.acknowledged.update(tags)
        done(None)
        link.acknowledged.clear()
