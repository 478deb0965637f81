"""The names of the keys in Redis: kombu's own and those that Taskyard adds.

Source of kombu's: ``kombu.transport.redis`` (lists per queue and priority step, ``unacked`` and its index).
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

_encode = msgspec.json.Encoder().encode

#: kombu's separator and priority steps, and its tables of what is bound to an exchange.
_SEPARATOR: Final = "\x06\x16"
_STEPS: Final = (0, 3, 6, 9)
_BINDINGS: Final = ("_kombu.binding.", "_kombu.binding_permanent.")


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

    def list_of(self, queue: str, priority: Any) -> bytes:
        """The list of a message with that priority, whatever it is: kombu takes 0 to 9."""
        try:
            step = max(0, min(int(priority), 9))
        except (TypeError, ValueError):
            step = 0
        return self.list_for(queue, step)

    def bound_to(self, exchange: str) -> bytes:
        """Set: what is bound to an exchange, as kombu looks it up."""
        return self._of(_BINDINGS[0] + exchange)

    def bindings(self, exchange: str, key: str | None, queue: str) -> list[tuple[bytes, bytes]]:
        """Set and member for each note that kombu keeps of a binding to a direct exchange."""
        member = self.separator.join((key or "", "", queue)).encode()
        return [(self._of(table + exchange), member) for table in _BINDINGS]

    def _of(self, name: str) -> bytes:
        return (self.prefix + name).encode()


def json_text(value: object) -> bytes:
    """A value as JSON, for scripts that write it into a record."""
    return _encode(value)


def names_for(options: Mapping[str, Any]) -> Names:
    """The names under the transport options of an app."""
    prefix = options.get("global_keyprefix") or ""
    return Names(
        prefix=prefix,
        separator=options.get("sep", _SEPARATOR),
        steps=tuple(options.get("priority_steps", _STEPS)),
        unacked=(prefix + options.get("unacked_key", "unacked")).encode(),
        unacked_index=(prefix + options.get("unacked_index_key", "unacked_index")).encode(),
    )
