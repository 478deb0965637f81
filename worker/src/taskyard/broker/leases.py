"""How long a worker's silence may last before what it holds is given to others."""

from dataclasses import dataclass
from typing import Final

BEAT_SECONDS: Final = 5.0
"""Most seconds between two signs of life of a worker."""

LEASE_SECONDS: Final = 30.0
"""Silence after which a worker is lost, unless the transport option ``lease_seconds`` says otherwise."""


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """``seconds`` of silence after which a worker is lost; ``visibility_timeout`` is kombu's, in seconds."""

    seconds: float
    visibility_timeout: float

    def __post_init__(self) -> None:
        if self.seconds < 3:
            raise ValueError(f"transport option lease_seconds is {self.seconds}: it must be 3 or more")
        if self.visibility_timeout <= 0:
            raise ValueError(
                f"transport option visibility_timeout is {self.visibility_timeout}: it must be positive"
            )

    @property
    def beat(self) -> float:
        """Seconds between signs of life."""
        return min(BEAT_SECONDS, self.seconds / 3)

    @property
    def renewal(self) -> float:
        """Seconds between renewals of the scores that kombu's visibility timeout looks at."""
        return min(60.0, self.visibility_timeout / 3)
