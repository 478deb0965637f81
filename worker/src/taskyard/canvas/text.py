"""Signatures as text, as one would write the calls."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


def call_as_text(name: str, args: Iterable[Any], kwargs: dict[str, Any]) -> str:
    """A call as one would write it."""
    parts = [repr(value) for value in args]
    parts += [f"{key}={value!r}" for key, value in kwargs.items()]
    return f"{name}({', '.join(parts)})"


def without_repeated(name: str, text: str) -> str:
    """The text of a canvas with the module of its first task said once: `proj.add(1) | mul(2)`."""
    module = str(name).rpartition(".")[0]
    if not module:
        return text
    first, found, rest = text.partition(module + ".")
    # Only where a name begins: "app." is no part to drop from "webapp.".
    return first + found + re.sub(rf"(?<![\w.-]){re.escape(module)}\.", "", rest)
