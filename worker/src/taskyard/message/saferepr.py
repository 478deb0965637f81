"""Short representations of arguments for logs and the argsrepr/kwargsrepr headers."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from numbers import Number
from typing import Any

#: Characters of a representation, as Celery cuts it.
LIMIT = 1024
#: How deep a representation looks into values (the default of task_repr_maxlevels).
LEVELS = 3


def safe_repr(value: Any, limit: int = LIMIT, levels: int | None = LEVELS) -> str:
    """repr() that is bounded in length and depth and never raises."""
    try:
        return repr(value) if limit >= LIMIT and _small(value) else saferepr(value, limit, levels)
    except Exception as error:
        return f"<unrepresentable {type(value).__name__}: {type(error).__name__}>"


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


def saferepr(
    o: Any, maxlen: int | None = None, maxlevels: int | None = 3, seen: set[int] | None = None
) -> str:
    """repr() cut after about `maxlen` characters and below `maxlevels` levels, with all brackets closed.

    Numbers are shown by str(), bytes as the UTF-8 that they are or else in hex.
    """
    writer = _Writer(maxlen, maxlevels, seen)
    writer.value(o, 0)
    return "".join(writer.parts)


class _Writer:
    """Writes until the characters are used up; from then on only the brackets that are still open."""

    def __init__(self, left: int | None, levels: int | None, seen: set[int] | None) -> None:
        self.parts: list[str] = []
        self._left = left
        self._levels = levels
        self._seen = seen or set()
        self._over = False

    def _put(self, text: str) -> None:
        if self._over:
            return
        if self._left is None:
            self.parts.append(text)
        elif self._left > 0:
            self.parts.append(text)
            self._left -= len(text)
        else:
            self.parts.append(", ...")
            self._over = True

    def _cut(self, text: str) -> str:
        if not self._left or len(text) < self._left:
            return text
        return text[: self._left].rsplit(" ", 1)[0] + "..."

    def value(self, value: Any, level: int) -> None:
        """Write one value, which stands that deep."""
        if isinstance(value, str):
            self._put(self._quoted(value))
        elif isinstance(value, bytes):
            self._put(self._bytes(value))
        elif isinstance(value, Number) and not isinstance(value, Decimal):
            self._put(self._cut(str(value)))
        elif isinstance(value, (set, frozenset)):
            if value:
                opening, closing = ("{", "}") if type(value) is set else (f"{type(value).__name__}({{", "})")
                self._items(value, opening, closing, level)
            else:
                self._put(self._cut(f"{type(value).__name__}()"))
        elif isinstance(value, tuple):
            self._items(value, "(", ",)" if len(value) == 1 else ")", level)
        elif isinstance(value, list):
            self._items(value, "[", "]", level)
        elif isinstance(value, dict):
            self._items(value, "{", "}", level)
        else:
            self._put(self._cut(_plain(value)))

    def _quoted(self, text: str) -> str:
        return "'" + self._cut(text).replace("'", "\\'") + "'"

    def _bytes(self, value: bytes) -> str:
        end = ""
        if self._left and len(value) > self._left:
            value, end = value[: self._left], "..."
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = value.hex()
        return f"b'{text}{end}'"

    def _items(self, items: Iterable[Any], opening: str, closing: str, level: int) -> None:
        if self._over:
            return
        if self._levels and level >= self._levels:
            self._put(f"{opening}...{closing}")
            return
        if id(items) in self._seen:
            self._put(self._cut(f"<Recursion on {type(items).__name__} with id={id(items)}>"))
            return
        self._put(opening)
        if self._over:
            return
        self._seen.add(id(items))
        for position, item in enumerate(items):
            if position:
                self._put(", ")
            if self._over:
                break
            if isinstance(items, dict):
                text = isinstance(item, str)
                self._put(self._quoted(item) if text else saferepr(item, self._left, self._levels))
                self._put(": ")
                item = items[item]
            self.value(item, level + 1)
        self._seen.discard(id(items))
        # What is open is closed, however much that is.
        self.parts.append(closing)
        if self._left is not None and self._left > 0:
            self._left -= len(closing)


def _plain(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<Unrepresentable {type(value)!r}{id(value):#x}: {error!r}>"
