"""How an existing queue differs from its plan, in words: pure.

RabbitMQ refuses to declare an existing queue with other properties and says which
(`PRECONDITION_FAILED - inequivalent arg …`), one at a time; the management API shows them all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskyard_operator.core.queue_plan import QueueDeclaration

_NONE = "none"
_REFUSAL = re.compile(
    r"inequivalent arg '(?P<name>[^']+)' for (?P<kind>queue|exchange) '(?P<of>.*)' in vhost '.*': received "
    r"(?:the value )?(?P<wanted>none|'.*?')(?: of type '\w+')? but current is "
    r"(?:the value )?(?P<has>none|'.*?')(?: of type '\w+')?$"
)

_SPEC_NAMES = {"x-queue-type": "type", "x-max-priority": "maxPriority"}
_PROPERTIES = {"durable": True, "auto_delete": False, "exclusive": False}


@dataclass(frozen=True, slots=True)
class Difference:
    """One property or argument that the broker has otherwise; the values as text, `none` for none."""

    queue: str
    name: str
    has: str
    wanted: str

    @property
    def foreign(self) -> bool:
        """Whether the queue can hardly be a task queue: it vanishes by itself, or is a stream."""
        return self.name in _PROPERTIES or (self.name == "x-queue-type" and self.has == "stream")

    def __str__(self) -> str:
        spec = f" ({_SPEC_NAMES[self.name]})" if self.name in _SPEC_NAMES else ""
        wanted = f"spec says {self.wanted}" if self.wanted != _NONE else "spec has none"
        return f"{self.name}{spec} of queue {self.queue}: broker has {self.has}, {wanted}"


def from_arguments(queue: QueueDeclaration, found: Mapping[str, Any]) -> list[Difference]:
    """Compare with a queue as the management API shows it."""
    differences = [
        Difference(queue.name, name, _text(found[name]), _text(wanted))
        for name, wanted in _PROPERTIES.items()
        if name in found and bool(found[name]) != wanted
    ]
    has = _without_default_type(found.get("arguments") or {})
    wants = _without_default_type(queue.arguments)
    return differences + [
        Difference(queue.name, name, _text(has.get(name)), _text(wants.get(name)))
        for name in sorted(has.keys() | wants.keys())
        if has.get(name) != wants.get(name)
    ]


def from_refusal(queue: str, text: str) -> Difference | None:
    """Read the words with which the broker refused a declaration; None if they say something else."""
    match = _REFUSAL.search(text.strip())
    if match is None or match["kind"] != "queue":
        return None
    return Difference(queue, match["name"], match["has"].strip("'"), match["wanted"].strip("'"))


def drift_sentence(differences: Sequence[Difference]) -> str:
    """All differences and what can be done, as one line."""
    listed = "; ".join(map(str, differences))
    if any(item.foreign for item in differences):
        return f"{listed}: this is no task queue, nothing was changed. Choose another queueName"
    return (
        f"{listed}: the broker cannot change this. Create a TaskQueue with another queueName and drain this"
        " one, or correct the spec"
    )


def _without_default_type(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in arguments.items()
        if not (name == "x-queue-type" and value == "classic")
    }


def _text(value: object) -> str:
    if value is None:
        return _NONE
    return str(value).lower() if isinstance(value, bool) else str(value)
