"""Celery's task message protocol 2 (written and read) and 1 (read): headers, properties and body.

Source of the format: Celery 5.7, celery/app/amqp.py `as_task_v2` and docs/internals/protocol.  `timelimit` is
[hard, soft]; `chain` in the body is in reverse order; a consumer must do without all headers but `task` and
`id`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from taskyard.errors import MalformedMessage
from taskyard.message.codec import dump_json, loads
from taskyard.message.identity import origin
from taskyard.message.saferepr import LEVELS, LIMIT, safe_repr


@dataclass(slots=True)
class TaskMessage:
    """One message ready to be published."""

    headers: dict[str, Any]
    properties: dict[str, Any]
    body: bytes
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    priority: int | None = None
    #: Options for the transport's publish: mandatory, timeout, ...
    publishing: dict[str, Any] | None = None
    #: What a transport keeps to write messages that are alike.
    stencil: Any = None

    @property
    def id(self) -> str:
        """The task id."""
        task_id: str = self.headers["id"]
        return task_id


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What the worker's parent needs of a message's headers, checked."""

    id: str
    name: str
    #: Unix seconds before which the task must not begin; None: at once.
    eta: float | None
    #: Unix seconds after which it must not begin; None: never.
    expires: float | None
    #: Hard and soft limit in seconds from the message, None where the task's own holds.
    hard_limit: float | None
    soft_limit: float | None
    #: Deliveries before this one.
    deliveries: int
    #: Retries before this message.
    retries: int

    @property
    def key(self) -> tuple[str, int]:
        """What tells one message from another: a retry is a new message of the same id."""
        return self.id, self.retries


def headers_of(
    name: str,
    task_id: str,
    args: Any,
    kwargs: Any,
    *,
    eta: str | None = None,
    expires: str | None = None,
    retries: int = 0,
    timelimit: tuple[float | None, float | None] = (None, None),
    ignore_result: bool | None = None,
    root_id: str | None = None,
    parent_id: str | None = None,
    group_id: str | None = None,
    group_index: int | None = None,
    shadow: str | None = None,
    argsrepr: str | None = None,
    kwargsrepr: str | None = None,
    replaced_task_nesting: int = 0,
    stamped_headers: list[str] | None = None,
    stamps: dict[str, Any] | None = None,
    levels: int | None = LEVELS,
) -> dict[str, Any]:
    """All headers that Celery 5.7 sends, in its order."""
    return {
        "lang": "py",
        "task": name,
        "id": task_id,
        "shadow": shadow,
        "eta": eta,
        "expires": expires,
        "group": group_id,
        "group_index": group_index,
        "retries": retries,
        "timelimit": list(timelimit),
        "root_id": root_id or task_id,
        "parent_id": parent_id,
        "argsrepr": safe_repr(args, LIMIT, levels) if argsrepr is None else argsrepr,
        "kwargsrepr": safe_repr(kwargs, LIMIT, levels) if kwargsrepr is None else kwargsrepr,
        "origin": origin(),
        "ignore_result": ignore_result,
        "replaced_task_nesting": replaced_task_nesting,
        "stamped_headers": stamped_headers,
        "stamps": stamps or {},
    }


def iso_date(value: datetime | float | str | None, what: str) -> str | None:
    """An aware ISO 8601 date for the eta or expires header; a number counts seconds from now, naive means
    UTC, as it does for Celery whatever its time zone.
    """
    if value is None:
        return value
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{what} must be an ISO 8601 date, not {value!r:.80}") from None
        return value
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return (datetime.now(UTC) + timedelta(seconds=value)).isoformat()
        except OverflowError:
            raise ValueError(f"{what} of {value!r} seconds is out of range") from None
    raise TypeError(f"{what} must be a datetime or seconds, not {type(value).__name__}")


def read_envelope(headers: dict[str, Any]) -> Envelope:
    """Check the headers of a protocol 2 message; MalformedMessage names the first that is wrong."""
    get = headers.get
    name, task_id = get("task"), get("id")
    if not isinstance(name, str) or not name:
        raise MalformedMessage(f"header 'task' must be a name, not {name!r:.80}")
    if not isinstance(task_id, str) or not task_id:
        raise MalformedMessage(f"header 'id' must be a task id, not {task_id!r:.80}")
    eta, expires = get("eta"), get("expires")
    limits = get("timelimit")
    hard, soft = _NO_LIMITS if limits == _NO_LIMITS else _limits(limits)
    retries = get("retries") or 0
    if not isinstance(retries, int):
        raise MalformedMessage(f"header 'retries' must be a number, not {headers['retries']!r:.80}")
    count, own_count = get("x-delivery-count"), get("x-taskyard-deliveries")
    deliveries = 0
    if count is not None or own_count is not None:
        deliveries = max(each if isinstance(each, int) else 0 for each in (count, own_count))
    return Envelope(
        task_id,
        name,
        None if eta is None else _moment(eta, "eta"),
        None if expires is None else _moment(expires, "expires"),
        hard,
        soft,
        deliveries,
        retries,
    )


_NO_LIMITS = [None, None]


def _moment(value: object, header: str) -> float:
    if isinstance(value, datetime):  # AMQP tables carry dates as such
        moment = value
    else:
        try:
            moment = datetime.fromisoformat(value)  # type: ignore[arg-type]
        except (ValueError, TypeError):
            raise MalformedMessage(f"header {header!r} must be an ISO 8601 date, not {value!r:.80}") from None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        raise MalformedMessage(f"header {header!r} is out of range: {value!r:.80}") from None


def _limits(value: object) -> tuple[float | None, float | None]:
    if value is None:
        return None, None
    if isinstance(value, (list, tuple)) and len(value) == 2:
        hard, soft = value
        if _limit(hard) and _limit(soft):
            return hard, soft
    raise MalformedMessage(f"header 'timelimit' must be [hard, soft] seconds, not {value!r:.80}")


def _limit(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0)


def read_body(value: object) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """Check a decoded protocol 2 body: (args, kwargs, embed)."""
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise MalformedMessage(f"body must be [args, kwargs, embed], not {_kind(value)}")
    args, kwargs, embed = value
    if not isinstance(args, (list, tuple)):
        raise MalformedMessage(f"args must be a list, not {_kind(args)}")
    if not isinstance(kwargs, dict) or not all(isinstance(key, str) for key in kwargs):
        raise MalformedMessage(f"kwargs must be an object with names as keys, not {_kind(kwargs)}")
    if embed is not None and not isinstance(embed, dict):
        raise MalformedMessage(f"embed must be an object or null, not {_kind(embed)}")
    for name in ("callbacks", "errbacks", "chain"):
        signatures = embed.get(name) if embed else None
        if signatures is not None and not (
            isinstance(signatures, (list, tuple)) and all(_signature(each) for each in signatures)
        ):
            raise MalformedMessage(f"embed.{name} must be a list of signatures")
    return list(args), kwargs, embed or {}


def _signature(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("task"), str)


def _kind(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    return "null" if value is None else type(value).__name__


def upgrade_protocol_1(
    body: bytes | str,
    content_type: str | None,
    content_encoding: str | None,
    headers: dict[str, Any],
    accept: frozenset[str],
    limit: int | None = None,
) -> tuple[dict[str, Any], bytes]:
    """Headers and JSON body of protocol 2 from a message of protocol 1 (no `task` header)."""
    old = loads(body, content_type, content_encoding, accept, headers.get("compression"), limit)
    if not isinstance(old, dict) or "task" not in old or "id" not in old:
        raise MalformedMessage("no task message: neither a 'task' header nor 'task' and 'id' in the body")
    limits = old.get("timelimit") or (None, None)
    args, kwargs = old.get("args") or [], old.get("kwargs") or {}
    new = headers_of(
        old["task"],
        old["id"],
        args,
        kwargs,
        eta=old.get("eta"),
        expires=old.get("expires"),
        retries=old.get("retries") or 0,
        timelimit=tuple(limits),
        group_id=old.get("group") or old.get("taskset"),
        group_index=old.get("group_index"),
    )
    new.update({key: value for key, value in headers.items() if key != "compression"})
    embed = {key: old.get(key) for key in ("callbacks", "errbacks", "chord")}
    return new, dump_json([args, kwargs, {**embed, "chain": None}])
