"""What a broken session leaves behind, for the next one of the same process.

A message that was taken over a connection that then broke is still under the old session's lease: nobody else
gets it before ``lease_seconds``. The same process need not wait: its next session to the same broker knows
the old lease by name and gives everything on it back, except what the worker says it still runs
(transport option ``still_running``): that moves to the new lease and is settled there, once it is done.
"""

import os
from collections.abc import Collection
from typing import Any

from taskyard.broker.envelope import Envelope, UnreadableMessageError, dumps, mark_redelivered, parse
from taskyard.broker.held import Held
from taskyard.broker.redis.intake import split_record
from taskyard.broker.redis.pipe import check
from taskyard.broker.redis.session import Session
from taskyard.broker.redis.settlement import Move, Settlements

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


def succeed(identity: Identity, session: Session, running: Collection[str], list_of: Any) -> dict[str, Held]:
    """Take over what earlier sessions left; returns what is still running and now under this session's lease.

    ``list_of(queue, envelope)`` is the list that an envelope belongs to. After an error, try again.
    """
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
    records = pipe.request(b"HMGET", names.unacked, *tags) if tags else []
    adopted: dict[str, Held] = {}
    back = Settlements()
    for name, record in zip(tags, records, strict=True):
        tag = name.decode()
        parts = split_record(record) if record else None
        if parts is None:
            back.acks.append(name)  # the record is gone: only the tag is left to be forgotten
        elif tag in running:
            if pipe.request(b"SMOVE", lease, session.lease, name):
                adopted[tag] = Held(parts[1], parts[0])
        else:
            back.moves.append(to_head(names.list_for(parts[1], 0), tag, parts[1], parts[0], list_of))
    replies: list[Any] = []
    for keys, arguments in back.calls():
        own = [names.unacked, names.unacked_index, lease]
        pipe.call_script(replies.append, session.scripts.settle, [*own, *keys], arguments)
    pipe.call_script(replies.append, session.scripts.leave, [names.workers, lease], [worker.encode()])
    pipe.wait()
    for reply in replies:
        check(reply)
    return adopted


def to_head(fallback: bytes, tag: str, queue: str, text: bytes, list_of: Any) -> Move:
    """The move that gives a message back, marked as redelivered; unreadable text goes as it is."""
    try:
        envelope: Envelope = mark_redelivered(parse(text))
    except UnreadableMessageError:
        return Move(tag, "head", fallback, text)
    return Move(tag, "head", list_of(queue, envelope), dumps(envelope))
