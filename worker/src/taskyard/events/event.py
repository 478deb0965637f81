"""An event: a dictionary with a type, a time and the fields of its type; and the exchange it travels by."""

from __future__ import annotations

from collections.abc import Mapping
from time import altzone, localtime, time, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kombu import Exchange

    #: The exchange by its definition; `get_exchange` knows what a broker makes of it.
    event_exchange: Exchange

__all__ = ("Event", "event_exchange", "get_exchange", "group_from")

EVENT_EXCHANGE_NAME = "celeryev"

#: Brokers whose only broadcast is a fanout with patterns.
_FANOUT_DRIVERS = frozenset({"redis", "gcpubsub"})


def __getattr__(name: str) -> Any:
    if name != "event_exchange":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kombu import Exchange

    exchange = globals()[name] = Exchange(EVENT_EXCHANGE_NAME, type="topic")
    return exchange


def Event(type: str, _fields: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:  # noqa: N802
    """Make an event of that type; its timestamp is now unless it is given."""
    event = {**_fields, **fields} if _fields else fields
    event.setdefault("timestamp", time())
    event["type"] = type
    return event


def group_from(type: str) -> str:
    """The part of a type before the dash: "task" of "task-sent"."""
    return type.partition("-")[0]


def get_exchange(conn: Any, name: str = EVENT_EXCHANGE_NAME) -> Exchange:
    """The exchange for events on that connection's broker: topic, or fanout on Redis."""
    from kombu import Exchange

    kind = "fanout" if conn.transport.driver_type in _FANOUT_DRIVERS else "topic"
    return Exchange(name, type=kind)


def utcoffset() -> float:
    """Hours that this machine's time zone is behind UTC now, as events carry it."""
    return (altzone if localtime().tm_isdst > 0 else timezone) / 3600


def adjust_timestamp(timestamp: float, offset: float) -> float:
    """The time of an event from a machine of another zone, as Celery moves it."""
    return timestamp - (offset - utcoffset()) * 3600
