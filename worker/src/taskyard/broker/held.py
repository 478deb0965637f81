"""A message that was taken and is not yet settled."""

import msgspec


class Held(msgspec.Struct, frozen=True, gc=False):
    """A message in a consumer's hands; ``queue`` is None where no lease stands behind it (a broadcast)."""

    queue: str | None
    text: bytes
