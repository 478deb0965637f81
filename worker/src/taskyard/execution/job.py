"""What passes between the worker's parent and whatever runs tasks: jobs in, outcomes out."""

from __future__ import annotations

from typing import Any

import msgspec

from taskyard.result.chord_parts import Part

#: What the parent does with the message after an outcome.
ACK, REJECT, REQUEUE, MALFORMED, SKIPPED, PROGRESS, POSTPONED = range(7)


class Job(msgspec.Struct, array_like=True, gc=False):
    """A task to run; the body is still as it came."""

    #: Counts up for each pool; names the job between parent and child.
    seq: int
    name: str
    id: str
    #: These three are whatever a sender has put there: a child must not fall over them.
    body: Any
    content_type: Any
    content_encoding: Any
    headers: dict[str, Any]
    #: `correlation_id` and `reply_to`; `events` is true while somebody listens to task events.
    properties: dict[str, Any]
    delivery_info: dict[str, Any]


class Outcome(msgspec.Struct, array_like=True, gc=False):
    """What became of a job."""

    seq: int
    #: ACK, REJECT, REQUEUE, MALFORMED (dead letter), SKIPPED (not begun), PROGRESS (still running) or
    #: POSTPONED (to be run again at `due`).
    disposition: int
    state: str
    #: Results to store before the message is settled: (task id, JSON).
    results: list[tuple[str, bytes]]
    #: Seconds that the task ran.
    runtime: float
    #: Why, where something went wrong.
    reason: str = ""
    #: The child has reached its memory limit and wants to be replaced.
    worn: bool = False
    #: For task events: repr of the result or exception, and the traceback.  Always there for failures and
    #: retries, for successes only if the job asked for it.
    report: tuple[str, str] | None = None
    #: Unix seconds; of a message that is POSTPONED.
    due: float = 0.0
    #: What a chord is to be told with the results.
    part: Part | None = None
