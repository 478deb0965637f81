"""What can be done with dead letters, on whichever broker they lie."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskyard.broker.dead_letters.letter import DeadLetter, read_letter
from taskyard.broker.envelope import UnreadableMessageError, parse, wrapped
from taskyard.errors import BrokerError


@dataclass(slots=True, frozen=True)
class Wanted:
    """Which dead letters: by id, by a part of the reason, so many at most."""

    ids: frozenset[str] = field(default_factory=frozenset)
    reason: str | None = None
    limit: int | None = None

    def __call__(self, letter: DeadLetter) -> bool:
        """Whether a letter is one of them; the limit is for who counts."""
        return (not self.ids or letter.id in self.ids) and (
            self.reason is None or self.reason.lower() in letter.reason.lower()
        )


#: What to do with a letter that was chosen: it returns whether it was still there.
Act = Callable[[Any, DeadLetter], bool]


class DeadLetterStore(ABC):
    """The dead letters of one broker; a context manager."""

    def __enter__(self) -> DeadLetterStore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @abstractmethod
    def size(self, queue: str) -> int:
        """How many letters a dead-letter queue holds."""

    @abstractmethod
    def letters(self, queue: str, wanted: Wanted = Wanted()) -> Iterator[DeadLetter]:
        """The letters of a dead-letter queue, oldest first where the broker keeps their order."""

    @abstractmethod
    def replay(self, queue: str, wanted: Wanted, target: str | None = None) -> int:
        """Put letters back into the queues they come from, or into `target`; returns how many.

        None is lost: each is in its queue before it is removed here, or both happen in one step.
        """

    @abstractmethod
    def purge(self, queue: str, wanted: Wanted) -> int:
        """Delete letters; returns how many."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


def destination(letter: DeadLetter, target: str | None) -> str:
    """The queue that a letter goes back to."""
    queue = target or letter.origin
    if not queue:
        raise BrokerError(f"message {letter.id} does not say which queue it comes from: name one with --to")
    return queue


def from_envelope(queue: str, text: bytes) -> tuple[DeadLetter, dict[str, Any]]:
    """A letter of a virtual transport, and its envelope."""
    try:
        envelope = parse(text)
    except UnreadableMessageError:
        envelope = wrapped(text, "unreadable")
    properties = envelope["properties"]
    body: Any = envelope.get("body") or b""
    if isinstance(body, str):
        if properties.get("body_encoding") == "base64":
            try:
                body = base64.b64decode(body)
            except ValueError:
                body = body.encode()
        else:
            body = body.encode()
    letter = read_letter(
        queue,
        envelope.get("headers") or {},
        body if isinstance(body, bytes) else str(body).encode(),
        envelope.get("content-type"),
        envelope.get("content-encoding"),
        properties,
        str(properties.get("delivery_tag")),
    )
    return letter, envelope


class ScannedStore(DeadLetterStore):
    """A store whose letters can be walked through with a handle for each."""

    @abstractmethod
    def scan(self, queue: str) -> Iterator[tuple[Any, DeadLetter]]:
        """All letters with what `put_back` and `remove` want to know about them."""

    @abstractmethod
    def put_back(self, queue: str, found: Sequence[tuple[Any, DeadLetter]], target: str | None) -> int:
        """Move letters; returns how many were still there."""

    @abstractmethod
    def remove(self, queue: str, found: Sequence[tuple[Any, DeadLetter]]) -> int:
        """Delete letters; returns how many were still there."""

    def letters(self, queue: str, wanted: Wanted = Wanted()) -> Iterator[DeadLetter]:
        """The letters that are wanted."""
        return (letter for _, letter in self._chosen(queue, wanted))

    def _chosen(self, queue: str, wanted: Wanted) -> Iterator[tuple[Any, DeadLetter]]:
        count = 0
        for handle, letter in self.scan(queue):
            if wanted.limit is not None and count >= wanted.limit:
                return
            if wanted(letter):
                count += 1
                yield handle, letter

    def replay(self, queue: str, wanted: Wanted, target: str | None = None) -> int:
        """A hundred in one step."""
        return self._in_parts(queue, wanted, lambda part: self.put_back(queue, part, target))

    def purge(self, queue: str, wanted: Wanted) -> int:
        """A hundred in one step."""
        return self._in_parts(queue, wanted, lambda part: self.remove(queue, part))

    def _in_parts(
        self, queue: str, wanted: Wanted, act: Callable[[Sequence[tuple[Any, DeadLetter]]], int]
    ) -> int:
        done = 0
        chosen = list(self._chosen(queue, wanted))
        for start in range(0, len(chosen), 100):
            done += act(chosen[start : start + 100])
        return done
