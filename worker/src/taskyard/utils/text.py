"""Text for people, under the path that Celery's users import."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import partial
from pprint import pformat
from textwrap import fill
from typing import Any

from taskyard.canvas.text import without_repeated as remove_repeating_from_task

__all__ = (
    "WhateverIO",
    "abbr",
    "abbrtask",
    "dedent",
    "dedent_initial",
    "ensure_newlines",
    "ensure_sep",
    "fill_paragraphs",
    "indent",
    "join",
    "match_case",
    "pluralize",
    "pretty",
    "remove_repeating_from_task",
    "simple_format",
    "str_to_list",
    "truncate",
)

#: What `simple_format` replaces.
RE_FORMAT = re.compile(r"%([%\w])")


def str_to_list(s: Any) -> Any:
    """A text with commas as a list; everything else as it is."""
    return s.split(",") if isinstance(s, str) else s


def dedent_initial(s: str, n: int = 4) -> str:
    """Without the indentation of the first line."""
    return s[n:] if s.startswith(" " * n) else s


def dedent(s: str, sep: str = "\n") -> str:
    """Without the indentation of each line."""
    return sep.join(map(dedent_initial, s.splitlines()))


def fill_paragraphs(s: str, width: int, sep: str = "\n") -> str:
    """Each paragraph broken into lines of at most that width."""
    return sep.join(fill(paragraph, width) for paragraph in s.split(sep))


def join(lines: list[str], sep: str = "\n") -> str:
    """All that are not empty, with the separator between them."""
    return sep.join(filter(None, lines))


def ensure_sep(sep: str, s: str, n: int = 2) -> str:
    """The text with at least `n` separators."""
    return s + sep * (n - s.count(sep))


ensure_newlines = partial(ensure_sep, "\n")


def abbr(S: str | None, max: int, ellipsis: str | bool | None = "...") -> str:  # noqa: N803  Celery's name
    """At most `max` characters."""
    if S is None:
        return "???"
    if len(S) <= max:
        return S
    return S[: max - len(ellipsis)] + ellipsis if isinstance(ellipsis, str) else S[:max]


def abbrtask(S: str | None, max: int) -> str:  # noqa: N803  Celery's name
    """A task's name in about `max` characters: its module is what is cut."""
    if S is None:
        return "???"
    if len(S) <= max:
        return S
    module, _, name = S.rpartition(".")
    return f"{abbr(module, max - len(name) - 3, False)}[.]{name}"


def indent(t: str, indent: int = 0, sep: str = "\n") -> str:
    """Each line that many spaces to the right."""
    return sep.join(" " * indent + line for line in t.split(sep))


def truncate(s: str, maxlen: int | None = 128, suffix: str = "...") -> str:
    """At most `maxlen` characters, cut between words, and the suffix."""
    if not maxlen or len(s) < maxlen:
        return s
    return s[:maxlen].rsplit(" ", 1)[0] + suffix


def pluralize(n: float, text: str, suffix: str = "s") -> str:
    """The word for that many."""
    return text if n == 1 else text + suffix


def pretty(value: Any, width: int = 80, nl_width: int = 80, sep: str = "\n", **options: Any) -> str:
    """A value for the terminal; mappings and tuples begin on a line of their own."""
    if isinstance(value, dict):
        return f"{sep} {pformat(value, 4, nl_width)[1:]}"
    if isinstance(value, tuple):
        return f"{sep}    {pformat(value, width=nl_width, **options)}"
    return pformat(value, width=width, **options)


def match_case(s: str, other: str) -> str:
    """The text in capitals if the other is."""
    return s.upper() if other.isupper() else s.lower()


def simple_format(
    s: str,
    keys: dict[str, str | Callable[[], Any]],
    pattern: re.Pattern[str] = RE_FORMAT,
    expand: str = r"\1",
) -> str:
    """Replace `%x` by what `keys` has for x (a function is called), and `%%` by `%`."""
    known = {"%": "%", **keys}

    def found(match: re.Match[str]) -> str:
        key = match.expand(expand)
        if key not in known:
            raise ValueError(
                f"Unknown format %{key} in string {s!r}: write %%{key} if it is not to be replaced (a text "
                "that is expanded twice needs two more)"
            )
        value = known[key]
        return str(value() if callable(value) else value)

    return pattern.sub(found, s) if s else s


class WhateverIO(io.StringIO):
    """A StringIO that takes bytes, too."""

    def __init__(self, v: bytes | str | None = None, *args: Any, **options: Any) -> None:
        super().__init__(v.decode() if isinstance(v, bytes) else v, *args, **options)

    def write(self, data: bytes | str) -> int:
        """Write text, or bytes as UTF-8."""
        return super().write(data.decode() if isinstance(data, bytes) else data)
