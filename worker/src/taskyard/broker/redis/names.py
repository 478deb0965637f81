"""The names of the keys in Redis: kombu's own and those that Taskyard adds.

Source of kombu's: ``kombu.transport.redis`` (lists per queue and priority step, ``unacked`` and its index).
"""

from bisect import bisect
from dataclasses import dataclass

import msgspec

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Names:
    """Key names under one prefix, as bytes ready for the wire."""

    prefix: str
    separator: str
    steps: tuple[int, ...]
    unacked: bytes
    unacked_index: bytes

    @property
    def workers(self) -> bytes:
        """Sorted set: worker id -> last beat in unix seconds of the server's clock."""
        return self._of("taskyard:workers")

    @property
    def lease_prefix(self) -> bytes:
        """What precedes a worker id in the name of its lease."""
        return self._of("taskyard:lease:")

    def lease(self, worker: str) -> bytes:
        """Set of the tags that a worker holds."""
        return self.lease_prefix + worker.encode()

    def schedule(self, queue: str) -> bytes:
        """Sorted set: message -> due unix seconds."""
        return self._of(f"taskyard:schedule:{queue}")

    def lists(self, queue: str) -> list[bytes]:
        """The lists of a queue, one for each priority step, the most urgent first."""
        return [self.list_for(queue, step) for step in self.steps]

    def list_for(self, queue: str, priority: int) -> bytes:
        """The list of a queue that holds messages of a priority."""
        step = self.steps[bisect(self.steps, priority) - 1]
        return self._of(f"{queue}{self.separator}{step}" if step else queue)

    def _of(self, name: str) -> bytes:
        return (self.prefix + name).encode()


def json_text(value: object) -> bytes:
    """A value as JSON, for scripts that write it into a record."""
    return _encode(value)
