"""Short representations of arguments for logs and the argsrepr/kwargsrepr headers."""

from __future__ import annotations

from reprlib import Repr
from typing import Any

#: Characters of a representation, as Celery cuts it.
LIMIT = 1024

_cutter = Repr()
_cutter.maxlevel = 3
_cutter.maxtuple = _cutter.maxlist = _cutter.maxdict = _cutter.maxset = 32
_cutter.maxstring = _cutter.maxother = 128


def safe_repr(value: Any, limit: int = LIMIT) -> str:
    """repr() that is bounded in length and never raises."""
    try:
        text = repr(value) if _small(value) else _cutter.repr(value)
    except Exception as error:
        text = f"<unrepresentable {type(value).__name__}: {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _small(value: Any) -> bool:
    """Whether the plain repr() is surely short: few items, each a number or a short string."""
    kind = type(value)
    if kind is tuple or kind is list:
        return len(value) <= 32 and all(_scalar(item) for item in value)
    if kind is dict:
        return len(value) <= 32 and all(_scalar(key) and _scalar(item) for key, item in value.items())
    return _scalar(value)


def _scalar(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        return len(value) <= 128
    return kind is int or kind is float or kind is bool or value is None
