"""Durations as people write them in a manifest (``7d``, ``1h30m``, ``60s``) and as seconds in Python."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from .model import cel, validations

#: At least one of days, hours, minutes and seconds, each once and in that order. The digits are bounded so
#: that the largest value still fits Go's 64-bit nanoseconds, with which the API server computes.
DURATION_PATTERN = r"^([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?$"
HOURS_PATTERN = r"^([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?$"

#: The longest text that the pattern allows: ``9999d99999h999999m99999999s``.
DURATION_MAX_LENGTH = 27

_DURATION = re.compile(
    r"(?=[0-9])(?:([0-9]{1,4})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,8})s)?", re.ASCII
)
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


class DurationFormatError(ValueError):
    """A text is not a duration; the message shows how to write one."""


def parse_duration(text: str) -> int:
    """Return the seconds in a duration such as ``1h30m``.

    Raises:
        DurationFormatError: if the text is not days, hours, minutes and seconds in that order.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise DurationFormatError(f"{text!r} is not a duration: write it like 30s, 10m, 1h30m or 7d")
    return sum(int(count) * size for count, (_, size) in zip(match.groups("0"), _UNITS, strict=True))


def format_duration(seconds: int, *, days: bool = True) -> str:
    """Return the shortest text for a whole number of seconds: ``90`` is ``1m30s``, ``0`` is ``0s``."""
    if seconds < 0:
        raise DurationFormatError(f"{seconds} seconds: a duration cannot be negative")
    parts: list[str] = []
    rest = seconds
    for unit, size in _UNITS if days else _UNITS[1:]:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_elapsed(seconds: float) -> str:
    """Return a measured time for people: ``850ms``, ``2.4s``, ``3m20s``; never more than two units."""
    if seconds < 0.9995:
        return f"{max(0.0, seconds) * 1000:.0f}ms" if seconds > 0 else "0s"
    if seconds < 59.95:
        return f"{seconds:.1f}s".replace(".0s", "s")
    whole = round(seconds)
    parts = [f"{count}{unit}" for unit, count in zip("dhms", _split(whole), strict=True) if count]
    return "".join(parts[:2])


def parse_elapsed(text: str) -> float:
    """Return the seconds in a text made by :func:`format_elapsed` (what it rounded away is gone)."""
    if text.endswith("ms"):
        return float(text[:-2]) / 1000
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)s", text)
    return float(match[1]) if match else float(parse_duration(text))


def _split(seconds: int) -> list[int]:
    counts = []
    for _, size in _UNITS:
        count, seconds = divmod(seconds, size)
        counts.append(count)
    return counts


def _read_duration(value: Any) -> int:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise DurationFormatError(f"{value!r} is not a duration: write it like 30s, 10m, 1h30m or 7d")


def _read_elapsed(value: Any) -> float:
    return parse_elapsed(value) if isinstance(value, str) else float(value)


def _read_positive(value: Any) -> int:
    seconds = _read_duration(value)
    if not seconds:
        raise DurationFormatError("must be more than 0s")
    return seconds


def _read_hours(value: Any) -> int:
    if isinstance(value, str) and "d" in value:
        raise DurationFormatError(f"{value!r}: write it in hours, minutes and seconds, like 1h30m")
    return _read_positive(value)


def _format_hours(seconds: int) -> str:
    return format_duration(seconds, days=False)


def _text(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern, "minLength": 2, "maxLength": DURATION_MAX_LENGTH}


_MORE_THAN_ZERO = validations(cel("self.matches('[1-9]')", "must be more than 0s"))

#: A length of time that a user sets: whole seconds in Python, text in the resource.
Duration = Annotated[
    int,
    BeforeValidator(_read_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(_text(DURATION_PATTERN)),
]

#: The same, not zero.
PositiveDuration = Annotated[
    int,
    BeforeValidator(_read_positive),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(_text(DURATION_PATTERN) | _MORE_THAN_ZERO),
]

#: The same without days, so that CEL can compare two: its ``duration()`` reads Go's format, which has none.
DurationInHours = Annotated[
    int,
    BeforeValidator(_read_hours),
    PlainSerializer(_format_hours, return_type=str),
    WithJsonSchema(_text(HOURS_PATTERN) | _MORE_THAN_ZERO),
]

#: A length of time that was measured: seconds in Python, rounded text in the status.
Elapsed = Annotated[
    float,
    BeforeValidator(_read_elapsed),
    PlainSerializer(format_elapsed, return_type=str),
    WithJsonSchema({"type": "string", "maxLength": 32}),
]
