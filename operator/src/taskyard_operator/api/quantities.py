"""Amounts other than time: memory, and a number that may be a share of the replicas."""

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_MEMORY = re.compile(r"([0-9]{1,9})(Ki|Mi|Gi)", re.ASCII)
_MEMORY_UNITS = {"Ki": 1, "Mi": 1024, "Gi": 1024 * 1024}
_PERCENT = re.compile(r"(100|[0-9]{1,2})%", re.ASCII)


def parse_memory(text: str) -> int:
    """Return the KiB in a quantity such as ``512Mi``.

    The unit must be there: a bare number would be bytes to Kubernetes and KiB to Celery.
    """
    match = _MEMORY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an amount of memory: write it like 200000Ki, 512Mi or 2Gi")
    return int(match[1]) * _MEMORY_UNITS[match[2]]


def format_memory(kib: int) -> str:
    """Return KiB as a quantity in the largest unit that is exact."""
    for unit in ("Gi", "Mi"):
        if kib and kib % _MEMORY_UNITS[unit] == 0:
            return f"{kib // _MEMORY_UNITS[unit]}{unit}"
    return f"{kib}Ki"


def resolve_share(value: int | str, total: int, *, round_up: bool) -> int:
    """Return how many of ``total`` replicas a number or a percentage means.

    Kubernetes rounds a surge up and an unavailability down, so that a rollout can always move.
    """
    if isinstance(value, int):
        return value
    share = total * int(value.removesuffix("%")) / 100
    return math.ceil(share) if round_up else math.floor(share)


def _read_memory(value: Any) -> int:
    return parse_memory(value) if isinstance(value, str) else int(value)


def _read_share(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and _PERCENT.fullmatch(value):
        return value
    raise ValueError(f"{value!r} is not a number of replicas: write it like 1 or 25%")


#: An amount of memory: KiB in Python, a Kubernetes quantity with its unit in the resource.
Memory = Annotated[
    int,
    BeforeValidator(_read_memory),
    PlainSerializer(format_memory, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,9}(Ki|Mi|Gi)$", "minLength": 3, "maxLength": 11}),
]

#: Replicas as a number or as a percentage of the pool.
Share = Annotated[
    int | str,
    BeforeValidator(_read_share),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "pattern": r"^(100|[0-9]{1,2})%$",
            "maxLength": 4,
            "minimum": 0,
            "maximum": 10000,
        }
    ),
]
