"""The fields of a crontab: from `*/15`, `mon-fri`, numbers or lists of them to the set of numbers meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?P<filter>/(?P<step>\w+)?)?")


class ParseException(Exception):  # noqa: N818  Celery's name
    """The text is no crontab field."""


class crontab_parser:  # noqa: N801  Celery's name
    """Reads fields whose numbers are the `max_` ones from `min_` on: `crontab_parser(12, 1)` for months.

    A field is parts with commas between them; a part is `*`, a number or name, or a range `a-b` (which may
    wrap around), each with `/n` for every n-th of them.
    """

    ParseException = ParseException

    def __init__(self, max_: int = 60, min_: int = 0) -> None:
        self.max_ = max_
        self.min_ = min_

    def parse(self, spec: str) -> set[int]:
        """The numbers that a field names; ParseException for a wrong form, ValueError for a wrong number."""
        found: set[int] = set()
        for part in spec.split(","):
            found.update(self._part(part.strip()))
        return found

    def _part(self, part: str) -> list[int]:
        if not part:
            raise ParseException("empty part")
        if part.startswith("-"):
            raise ParseException("negative numbers not supported")
        match = _PART.fullmatch(part)
        if match is None:
            raise ParseException(f"{part!r} is neither *, a number, a range nor one of these with /step")
        if match["first"] is None:
            numbers = list(range(self.min_, self.min_ + self.max_))
        else:
            numbers = self._range(match["first"], match["last"])
        if match["filter"] is None:
            return numbers
        if not (match["step"] or "").isdecimal() or not int(match["step"]):
            raise ParseException("empty filter" if not match["step"] else f"{match['step']!r} is no step")
        return numbers[:: int(match["step"])]

    def _range(self, first: str, last: str | None) -> list[int]:
        begin = self._number(first)
        if last is None:
            return [begin]
        end = self._number(last)
        if end >= begin:
            return list(range(begin, end + 1))
        return [*range(begin, self.min_ + self.max_), *range(self.min_, end + 1)]

    def _number(self, text: str) -> int:
        if text.isdecimal():
            number = int(text)
        else:
            named = _name(text)
            if named is None:
                raise ValueError(f"Invalid weekday or month literal {text!r}.")
            number = named
        highest = self.min_ + self.max_ - 1
        if number > highest:
            raise ValueError(f"Invalid end range: {number} > {highest}.")
        if number < self.min_:
            raise ValueError(f"Invalid beginning range: {number} < {self.min_}.")
        return number


def _name(text: str) -> int | None:
    """The number of a month or a day of the week, by three letters or more of its English name."""
    short = text[:3].lower()
    return _MONTHS.get(short, _DAYS.get(short))


def expand(field: Any, count: int, first: int = 0) -> set[int]:
    """The numbers of a field given as text, a number, or any iterable of numbers."""
    if isinstance(field, int):
        numbers = {field}
    elif isinstance(field, str):
        numbers = crontab_parser(count, first).parse(field)
    elif isinstance(field, Iterable):
        numbers = set(field)
    else:
        raise TypeError(f"a crontab field must be a number, text or an iterable of numbers, not {field!r}")
    for number in numbers:
        if not first <= number < first + count:
            raise ValueError(
                f"Invalid crontab pattern. Valid range is {first}-{first + count - 1}. '{number}' was found."
            )
    return numbers
