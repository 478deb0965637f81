"""The names of the keys in Redis: kombu's own and those that Taskyard adds.

Source of kombu's: ``kombu.transport.redis`` (lists per queue and priority step, ``unacked`` and its index).
"""

from bisect import bisect
from dataclasses import dataclass
from typing import Final

import msgspec

_encode = msgspec.json.Encoder().encode

#: kombu's separator and priority steps, and its tables of what is bound to an exchange.
SEPARATOR: Final = "\x06\x16"
STEPS: Final = (0, 3, 6, 9)
BINDINGS: Final = ("_kombu.binding.", "_kombu.binding_permanent.")


def connection_of(worker: bytes) -> bytes | None:
    """The number of a worker's connection at the server, which ends its name; None where it is not known."""
    _, colon, number = worker.rpartition(b":")
    return number if colon and number.isdigit() else None


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


def default_names(prefix: str) -> Names:
    """The names where no transport option changes kombu's, except for the prefix."""
    return Names(
        prefix=prefix,
        separator=SEPARATOR,
        steps=STEPS,
        unacked=f"{prefix}unacked".encode(),
        unacked_index=f"{prefix}unacked_index".encode(),
    )


def bindings(prefix: str, exchange: str, key: str | None, queue: str) -> list[tuple[bytes, bytes]]:
    """Set and member for each note that kombu keeps of a binding to a direct exchange."""
    member = SEPARATOR.join((key or "", "", queue)).encode()
    return [(f"{prefix}{table}{exchange}".encode(), member) for table in BINDINGS]


#: Transport options that our own connections heed; any other one is kombu's business.
OPTIONS: Final = frozenset(
    {"dead_letters", "global_keyprefix", "lease_seconds", "still_running", "visibility_timeout", "wake_up"}
    | {"worker_id"}
)
