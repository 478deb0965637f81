"""Short representations of arguments for logs and the argsrepr/kwargsrepr headers."""

from __future__ import annotations

from functools import cache
from reprlib import Repr
from typing import Any

#: Characters of a representation, as Celery cuts it.
LIMIT = 1024
#: How deep a representation looks into values (the default of task_repr_maxlevels).
LEVELS = 3


@cache
def _cutter(levels: int | None) -> Repr:
    made = Repr()
    made.maxlevel = levels or 1_000
    made.maxtuple = made.maxlist = made.maxdict = made.maxset = 32
    made.maxstring = made.maxother = 128
    return made


def safe_repr(value: Any, limit: int = LIMIT, levels: int | None = LEVELS) -> str:
    """repr() that is bounded in length and depth and never raises."""
    try:
        text = repr(value) if _small(value) else _cutter(levels).repr(value)
    except Exception as error:
        text = f"<unrepresentable {type(value).__name__}: {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _small(value: Any) -> bool:
    """Whether the plain repr() is surely short: few items, each a number or a short string."""
    kind = type(value)
    if kind is tuple or kind is list:
        if len(value) > 32:
            return False
        for item in value:  # noqa: SIM110  a generator costs more than all the rest
            if not _scalar(item):
                return False
        return True
    if kind is dict:
        return len(value) <= 32 and all(_scalar(key) and _scalar(item) for key, item in value.items())
    return _scalar(value)


def _scalar(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        return len(value) <= 128
    return kind is int or kind is float or kind is bool or value is None
