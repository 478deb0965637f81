"""Headers that tell what befell a message, not what it says."""

from typing import Final

#: Set by a broker, or by the worker in its place, on redelivery and on death. A message that is sent anew (a
#: retry, a replayed dead letter) must not carry them on: its deliveries are counted from the beginning.
DELIVERY_HEADERS: Final = frozenset(
    {
        "redelivered",
        "x-acquired-count",
        "x-death",
        "x-delivery-count",
        "x-first-death-exchange",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-last-death-exchange",
        "x-last-death-queue",
        "x-last-death-reason",
        "x-taskyard-death",
        "x-taskyard-deliveries",
    }
)
