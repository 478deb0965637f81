"""Delays on RabbitMQ without a plugin: queues whose messages expire back into the queue they are for.

A message that is due in s seconds goes to the bucket `taskyard.delay.<queue>.<2^k>s` with the largest 2^k <=
s; after 2^k seconds RabbitMQ moves it back to its queue, where a worker looks at what is left: at most
log2(s) hops, and within a bucket all messages wait equally long, so none waits behind a later one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: A bucket lives this many seconds longer than twice its delay after it was last declared.
SPARE_SECONDS = 60

#: The longest bucket is 2^20 s (12 days): its x-expires is still well below RabbitMQ's limit of 2^32 ms.
_MAX_POWER = 20


@dataclass(slots=True, frozen=True)
class Bucket:
    """One delay queue."""

    name: str
    #: Seconds that a message stays.
    seconds: int
    arguments: dict[str, Any]


def bucket_for(queue: str, seconds: float) -> Bucket:
    """The bucket for a message that is due in `seconds` (at least 1)."""
    power = min(max(int(seconds), 1).bit_length() - 1, _MAX_POWER)
    delay = 1 << power
    return Bucket(
        f"taskyard.delay.{queue}.{delay}s",
        delay,
        {
            "x-message-ttl": delay * 1000,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": queue,
            "x-expires": (2 * delay + SPARE_SECONDS) * 1000,
        },
    )
