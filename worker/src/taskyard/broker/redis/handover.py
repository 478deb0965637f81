"""What a broken session leaves behind, for the next one of the same process.

A message that was taken over a connection that then broke is still under the old session's lease: nobody else
gets it before ``lease_seconds``. The same process need not wait: its next session to the same broker knows
the old lease by name and gives everything on it back, except what the worker says it still runs
(transport option ``still_running``): that moves to the new lease and is settled there, once it is done.
A session that breaks while it takes over leaves what it has so far to the next one in its turn.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.broker.envelope import Envelope, UnreadableMessageError, dumps, mark_redelivered, parse
from taskyard.broker.held import Held
from taskyard.broker.redis.intake import split_record
from taskyard.broker.redis.pipe import check
from taskyard.broker.redis.session import Session
from taskyard.broker.redis.settlement import Move, Settlements

if TYPE_CHECKING:
    from taskyard.broker.redis.lease import Lease

Identity = tuple[Any, ...]
"""What tells brokers apart: address, database, prefix."""

_abandoned: dict[Identity, list[str]] = {}
_owner = os.getpid()


def abandon(identity: Identity, worker: str) -> None:
    """Leave a lease to the next session to this broker."""
    global _owner
    if _owner != os.getpid():
        _abandoned.clear()  # a fork holds nothing of what its parent took
        _owner = os.getpid()
    _abandoned.setdefault(identity, []).append(worker)


def begin(identity: Identity, lease: Lease, options: Mapping[str, Any], list_of: Any) -> dict[str, Held]:
    """Begin a lease with what earlier sessions left; returns what is still running and now under this lease.

    ``list_of(queue, envelope)`` is the list that an envelope belongs to. After an error the session is
    closed, and one to follow begins anew.
    """
    session, still_running = lease.session, options.get("still_running")
    try:
        running = frozenset(still_running()) if still_running is not None else frozenset()
        lease.introduce()
        adopted = _succeed(identity, session, running, list_of)
        if adopted:
            lease.renew_soon()
        lease.tick(monotonic())
        session.wait()
    except BaseException:
        session.pipe.close()
        abandon(identity, session.worker)
        raise
    return adopted


def _succeed(identity: Identity, session: Session, running: Collection[str], list_of: Any) -> dict[str, Held]:
    if _owner != os.getpid():
        return {}
    adopted: dict[str, Held] = {}
    while _abandoned.get(identity):
        adopted |= _succeed_one(session, _abandoned[identity][-1], running, list_of)
        _abandoned[identity].pop()
    return adopted


def _succeed_one(session: Session, worker: str, running: Collection[str], list_of: Any) -> dict[str, Held]:
    names, pipe = session.names, session.pipe
    lease = names.lease(worker)
    tags: list[bytes] = list(pipe.request(b"SMEMBERS", lease))
    scores = pipe.request(b"ZMSCORE", names.unacked_index, *tags) if tags else []
    taken = {tag: float(score or 0) for tag, score in zip(tags, scores, strict=True)}
    tags.sort(key=taken.__getitem__, reverse=True)  # the latest first: each next one goes back before them
    replies: list[Any] = []
    records = pipe.request(b"HMGET", names.unacked, *tags) if tags else []
    kept: dict[str, Held] = {}
    back = Settlements()
    for name, record in zip(tags, records, strict=True):
        tag = name.decode()
        parts = split_record(record) if record else None
        if parts is None:
            back.acks.append(name)  # the record is gone: only the tag is left to be forgotten
        elif tag in running:
            kept[tag] = Held(parts[1], parts[0])
            pipe.call(replies.append, b"SMOVE", lease, session.lease, name)
        else:
            back.moves.append(to_head(names.list_for(parts[1], 0), tag, parts[1], parts[0], list_of))
    for keys, arguments in back.calls():
        own = [names.unacked, names.unacked_index, lease]
        pipe.call_script(replies.append, session.scripts.settle, [*own, *keys], arguments)
    pipe.call_script(replies.append, session.scripts.leave, [names.workers, lease], [worker.encode()])
    pipe.wait()
    for reply in replies:
        check(reply)
    # What others have taken for lost meanwhile is theirs.
    return {tag: held for (tag, held), moved in zip(kept.items(), replies, strict=False) if moved}


def to_head(fallback: bytes, tag: str, queue: str, text: bytes, list_of: Any) -> Move:
    """The move that gives a message back, marked as redelivered; unreadable text goes as it is."""
    try:
        envelope: Envelope = mark_redelivered(parse(text))
    except UnreadableMessageError:
        return Move(tag, "head", fallback, text)
    return Move(tag, "head", list_of(queue, envelope), dumps(envelope))
