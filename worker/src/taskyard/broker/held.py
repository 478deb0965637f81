"""A message that was taken and is not yet settled."""

from typing import NamedTuple


class Held(NamedTuple):
    """A message in a consumer's hands; ``queue`` is None where no lease stands behind it (a broadcast)."""

    queue: str | None
    text: bytes
