"""What a worker decided about messages it took, collected and sent with one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from taskyard.broker.redis.session import Session

ACKS_A_CALL: Final = 1000
"""Lua unpacks so many values at most in good conscience."""

BUFFERED_ACKS: Final = 64
"""So many acknowledgements do not wait for anything."""

Where = Literal["head", "tail", "due"]


@dataclass(frozen=True, slots=True)
class Move:
    """Take a message out of ``unacked`` and put it somewhere else."""

    tag: str
    where: Where
    key: bytes
    text: bytes
    score: float = 0.0


class Settlements:
    """Decisions that have not been sent."""

    __slots__ = ("acks", "moves")

    def __init__(self) -> None:
        self.acks: list[bytes] = []
        self.moves: list[Move] = []

    def __bool__(self) -> bool:
        return bool(self.acks or self.moves)

    def send(self, session: Session, *, patient: bool) -> None:
        """Queue the call; if `patient`, a few acknowledgements wait for an earlier reply."""
        if not self or not session.usable:
            return
        if patient and not self.moves and len(self.acks) < BUFFERED_ACKS and session.pipe.outstanding:
            return
        session.settle(self.calls())

    def calls(self) -> list[tuple[list[bytes], list[bytes]]]:
        """Destination keys and arguments of ``settle.lua`` for each call it takes; empties the buffer."""
        acks, self.acks = self.acks, []
        moves, self.moves = self.moves, []
        calls: list[tuple[list[bytes], list[bytes]]] = [
            ([], [b"%d" % len(part), *part])
            for part in (acks[at : at + ACKS_A_CALL] for at in range(0, len(acks), ACKS_A_CALL))
        ]
        for at in range(0, len(moves), ACKS_A_CALL):
            calls.append(_moves(moves[at : at + ACKS_A_CALL]))
        return calls


def _moves(moves: list[Move]) -> tuple[list[bytes], list[bytes]]:
    numbers = {key: number for number, key in enumerate(dict.fromkeys(move.key for move in moves), start=1)}
    arguments = [b"0"]
    for move in moves:
        arguments += (
            move.tag.encode(),
            move.where.encode(),
            b"%d" % numbers[move.key],
            b"%.6f" % move.score,
            move.text,
        )
    return list(numbers), arguments
