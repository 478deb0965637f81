"""Layouts: properties of messages that are like earlier ones, read with one unpacking.

Messages of a task differ in a few texts (id, arguments) of mostly the same lengths; everything between them,
the lengths included, is the same bytes.  A layout knows these bytes and where the texts are.
"""

from __future__ import annotations

from itertools import repeat
from struct import Struct
from typing import Any, Final

#: A text that differs: its name, whether it is a header, and its place.
Spot = tuple[str, bool, int, int]

#: What differs; other texts belong to the layout.
VARIABLE: Final = frozenset({
    "task", "id", "shadow", "eta", "expires", "group", "root_id", "parent_id", "argsrepr", "kwargsrepr",
    "origin", "correlation_id", "reply_to",
})  # fmt: skip
#: Class, weight and size of the body, before the properties.
_AHEAD: Final = 12
#: Longer ones have no layouts, and there are no more than so many.
_LONGEST: Final = 1500
_MOST: Final = 512
#: Another layout takes the place of one that has not fitted so often in succession.
_PATIENCE: Final = 8
_UTF8: Final = repeat("utf-8")


class Layout:
    """One; made of a message that was read the long way."""

    __slots__ = (
        "_copied",
        "_fixed",
        "_header_names",
        "_headers",
        "_names",
        "_properties",
        "_unpack",
        "misses",
    )

    def __init__(self, payload: bytes, properties: dict[str, Any], spots: list[Spot]) -> None:
        form, at = [f"{_AHEAD}x"], _AHEAD
        for _, _, start, stop in spots:
            form.append(f"{start - at}s{stop - start}s")
            at = stop
        form.append(f"{len(payload) - at}s")
        self._unpack = Struct("".join(form)).unpack
        self._fixed = self._unpack(payload)[::2]
        self._header_names = [name for name, in_headers, *_ in spots if in_headers]
        self._names = [name for name, in_headers, *_ in spots if not in_headers]
        self._properties = properties.copy()
        headers = properties.get("application_headers") or {}
        #: What a reader might change.
        self._copied = [name for name, value in headers.items() if isinstance(value, (list, dict))]
        self._headers = headers | {name: headers[name].copy() for name in self._copied}
        self.misses = 0

    def read(self, payload: bytes) -> dict[str, Any] | None:
        """The properties; None if the message is another one.  UnicodeDecodeError where a text is none."""
        parts = self._unpack(payload)
        if parts[::2] != self._fixed:
            self.misses += 1
            return None
        self.misses = 0
        properties = self._properties.copy()
        texts = map(str, parts[1::2], _UTF8)
        if "application_headers" in properties:
            headers = properties["application_headers"] = self._headers.copy()
            headers.update(zip(self._header_names, texts, strict=False))
            for name in self._copied:
                headers[name] = headers[name].copy()
        properties.update(zip(self._names, texts, strict=False))
        return properties


class Layouts:
    """Those that were learned, by the length of the message's header."""

    def __init__(self) -> None:
        self._known: dict[int, Layout] = {}

    def read(self, payload: bytes) -> dict[str, Any] | None:
        """The properties, if a layout fits."""
        layout = self._known.get(len(payload))
        return None if layout is None else layout.read(payload)

    def learn(self, payload: bytes, properties: dict[str, Any], spots: list[Spot]) -> None:
        """Remember how that message was made, if it is worth it."""
        size = len(payload)
        layout = self._known.get(size)
        if layout is None:
            if size > _LONGEST or len(self._known) >= _MOST:
                return
        elif layout.misses < _PATIENCE:
            return
        headers = properties.get("application_headers") or {}
        if all(map(_flat, headers.values())):
            layout = Layout(payload, properties, spots)
            if layout.read(payload) == properties:  # no name is there twice
                self._known[size] = layout


def _flat(value: object) -> bool:
    """Whether a shallow copy is a copy."""
    if isinstance(value, dict):
        value = list(value.values())
    return not isinstance(value, list) or not any(isinstance(each, (list, dict)) for each in value)
