"""How long a worker's silence may last before what it holds is given to others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from taskyard.errors import ImproperlyConfigured

BEAT_SECONDS: Final = 5.0
"""Most seconds between two signs of life of a worker."""

LEASE_SECONDS: Final = 30.0
"""Silence after which a worker is lost, unless the transport option ``lease_seconds`` says otherwise."""


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """``seconds`` of silence after which a worker is lost; ``visibility_timeout`` is kombu's, in seconds."""

    seconds: float
    visibility_timeout: float

    @classmethod
    def of(cls, options: Mapping[str, Any], visibility_timeout: Any = 3600) -> LeaseRules:
        """The rules that broker_transport_options ask for; ImproperlyConfigured says which cannot be."""
        return cls(
            _seconds("lease_seconds", options.get("lease_seconds") or LEASE_SECONDS, 3),
            _seconds("visibility_timeout", visibility_timeout, 1),
        )

    @property
    def beat(self) -> float:
        """Seconds between signs of life."""
        return min(BEAT_SECONDS, self.seconds / 3)

    @property
    def quiet(self) -> float:
        """Seconds of silence after which others look whether the worker's connection is still there."""
        return 2 * self.beat

    @property
    def renewal(self) -> float:
        """Seconds between renewals of the scores that kombu's visibility timeout looks at."""
        return min(60.0, self.visibility_timeout / 3)


def _seconds(name: str, value: Any, least: float) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not seconds >= least:
        raise ImproperlyConfigured(
            f"broker_transport_options: {name} must be a number of seconds, {least:g} or more, not {value!r}"
        )
    return seconds
