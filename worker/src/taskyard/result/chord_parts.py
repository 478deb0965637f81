"""Parts of chords that the worker's parent brings to Redis, with the results: those of a header in one call.

The child that has run a header's task makes the part; what to do with it is the script's business (see
redis_chord_scripts), whoever calls it.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from taskyard.message.identity import new_id
from taskyard.result.opening import global_prefix
from taskyard.settings.effective import seconds

if TYPE_CHECKING:
    from taskyard.settings import Settings

#: Prefix of the keys of a group.
GROUP_KEY_PREFIX = "celery-taskset-meta-"


class Part(msgspec.Struct, array_like=True, gc=False):
    """What a chord is told of a task of its header that has succeeded."""

    task_id: str
    group_id: str
    #: The place in the header, as a score of Redis.
    score: str
    #: JSON as Celery keeps it.
    value: bytes
    #: The chord's body, JSON too.
    body: bytes
    #: The message was delivered before.
    again: bool


class Brought(msgspec.Struct, eq=False):
    """A part in the parent's hands, with what its message said."""

    part: Part
    name: str
    headers: dict[str, Any]
    properties: dict[str, Any]
    delivery_info: dict[str, Any]
    #: By which Redis knows who sends the body, if this part is the one that completes the header.
    token: str = msgspec.field(default_factory=new_id)


class Times(NamedTuple):
    """Lives in seconds, 0 for ever: of a chord's own keys, of its group's, of a claim to send its body."""

    life: int
    group_life: int
    claim: int


def times_of(settings: Settings) -> Times:
    """As the settings have them."""
    results = settings.result_expires_seconds()
    own = settings.result_chord_expires
    life = results if own is None else seconds(own)
    return Times(life, max(life, results) if life and results else 0, claim_seconds(settings))


def claim_seconds(settings: Settings) -> int:
    """How long a worker may take to join the parts."""
    return max(5, int((settings.result_chord_join_timeout or 5.0) * 2))


def is_ordered(settings: Settings) -> bool:
    """Whether the header's order is that of the body's argument."""
    return bool(settings.result_backend_transport_options.get("result_chord_ordered", True))


def part_arguments(
    parts: Iterable[Part], group_id: str, body: bytes, token: str, times: Times, *, ordered: bool
) -> list[Any]:
    """The arguments of the script PART."""
    arguments: list[Any] = [
        1 if ordered else 0, times.life, times.group_life, times.claim, token, time(), group_id, body,
    ]  # fmt: skip
    for part in parts:
        arguments += (part.task_id, part.score, part.value, 1 if part.again else 0)
    return arguments


def is_claimed(reply: list[Any]) -> bool:
    """Whether the script's answer is that the chord is complete and its body to be sent by who has called."""
    parts, _, size, claimed = reply
    return parts != -1 and bool(size) and bool(claimed)


class PartCalls:
    """Keys and arguments of the calls that bring parts."""

    def __init__(self, settings: Settings) -> None:
        from taskyard.broker.redis.scripts import script_of
        from taskyard.result.redis_chord_scripts import PART

        self.script = script_of(PART.encode())
        self._times, self._ordered = times_of(settings), is_ordered(settings)
        self._prefix = global_prefix(settings.result_backend_transport_options)

    def call(self, brought: list[Brought]) -> tuple[list[bytes], list[bytes]]:
        """One call for parts of one group; the first one's token claims the body."""
        first = brought[0]
        group_id = first.part.group_id
        base = f"{self._prefix}{GROUP_KEY_PREFIX}{group_id}"
        keys = [f"{base}.{name}" for name in "jtsd"]
        keys += [base, f"{base}.c", f"{self._prefix}taskyard:chords", f"{self._prefix}taskyard:chord-bodies"]
        arguments = part_arguments(
            (each.part for each in brought),
            group_id,
            first.part.body,
            first.token,
            self._times,
            ordered=self._ordered,
        )
        return [key.encode() for key in keys], [
            each if isinstance(each, bytes) else str(each).encode() for each in arguments
        ]
