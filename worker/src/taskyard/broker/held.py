"""A message that was taken and is not yet settled."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """A message in a consumer's hands; ``queue`` is None where no lease stands behind it (a broadcast)."""

    queue: str | None
    text: bytes
