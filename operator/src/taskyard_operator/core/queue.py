"""What the operator knows of one broker queue at one moment: values only, no I/O.

A number that a broker cannot give is `None`, never zero: unknown is not empty, and a pool
must not be scaled down on what nobody measured.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The depth and rates of one queue as its broker reported them.

    `ready` counts messages that a worker could take now (on Redis with every priority and with
    what is due in the schedule); `unacknowledged` those that workers hold; `dead` those in the
    dead-letter queue. Rates are messages per second, `oldest_age` is in seconds.
    """

    ready: int
    unacknowledged: int | None = None
    dead: int | None = None
    consumers: int | None = None
    publish_rate: float | None = None
    deliver_rate: float | None = None
    oldest_age: float | None = None


@dataclass(frozen=True, slots=True)
class BrokerFailure:
    """Why a broker could not be asked: `reason` is CamelCase for a condition, `message` says what to do.

    The message never holds a secret: no password, no URL with one.
    """

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class QueueSample:
    """The latest poll of one queue.

    `depth` is the last one that was read (it stays while `failure` says why it is no longer
    fresh; `None` if there was never one), `at` the Unix time in seconds at which it was read
    (or, with no depth, of the latest attempt), `failures` the attempts that failed in a row.
    """

    depth: QueueDepth | None
    at: float
    failure: BrokerFailure | None = None
    failures: int = 0
