"""What the operator asks of any broker, and what it hears back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from taskyard_operator.core.queue import BrokerFailure, QueueDepth
from taskyard_operator.core.queue_plan import BrokerFamily, EnsureResult, QueuePlan, RemovalResult


class BrokerError(Exception):
    """A broker could not be asked or refused.

    `reason` is CamelCase for a condition; `message` says what to do and never holds a secret.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class QueueWatch:
    """One queue to count: its name, its dead-letter queue if it has one, the routing keys that lead to it.

    The routing keys beside the queue's own name matter on Redis alone, where what is in flight is told
    apart by routing key.
    """

    queue: str
    dead: str | None = None
    routing_keys: tuple[str, ...] = ()


class Broker(Protocol):
    """A connection to one broker, made when it is first used.

    Every call may raise :class:`BrokerError`. After a `BrokerError` the next call connects anew.
    """

    @property
    def family(self) -> BrokerFamily:
        """Which kind of broker this is."""
        ...

    @property
    def identity(self) -> str:
        """Names the broker and its virtual host or database, without credentials; equal for equal brokers."""
        ...

    async def depths(self, queues: Sequence[QueueWatch]) -> Mapping[str, QueueDepth | BrokerFailure]:
        """Count the queues in one go; a queue that cannot be counted alone has a failure of its own."""
        ...

    async def ensure(self, plan: QueuePlan) -> EnsureResult:
        """Bring the broker to the plan as far as nothing existing is harmed; say what differs."""
        ...

    async def remove(self, plan: QueuePlan, *, queue: bool, if_empty: bool = True) -> RemovalResult:
        """Take away what the operator made: the policies always, the queue and its dead letters if `queue`.

        With `if_empty` a queue that holds messages or has consumers stays, and the result says so.
        """
        ...

    async def close(self) -> None:
        """Close the connection; the broker is not used again."""
        ...
