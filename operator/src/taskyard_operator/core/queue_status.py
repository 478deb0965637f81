"""What a TaskQueue's status says: pure, from what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from taskyard_operator.api.conditions import Condition, Status, condition, merge_conditions, summarize
from taskyard_operator.api.names import ConditionType, QueueReason
from taskyard_operator.api.taskqueue import QueueMessages, TaskQueue, TaskQueueStatus
from taskyard_operator.core.queue import BrokerFailure, QueueSample
from taskyard_operator.core.queue_plan import EnsureResult, Limit, QueuePlan

QUEUE_FAILURES = frozenset({QueueReason.QUEUE_NOT_FOUND, QueueReason.QUEUE_LOCKED, QueueReason.NOT_A_QUEUE})
"""Failures of one queue at a broker that answers."""


@dataclass(frozen=True, slots=True)
class QueueView:
    """All that is known of a TaskQueue's broker side.

    `ensured` is the latest declaration that went through, `failure` why the latest attempt did not, or why
    the broker could not even be asked. `holder` names the older TaskQueue that stands for the same queue.
    `deleting` is why the TaskQueue is still there after its deletion.
    """

    broker: str | None = None
    plan: QueuePlan | None = None
    sample: QueueSample | None = None
    ensured: EnsureResult | None = None
    failure: BrokerFailure | None = None
    holder: str | None = None
    invalid: str | None = None
    deleting: Limit | None = None

    @property
    def unreachable(self) -> BrokerFailure | None:
        """Why the broker cannot be read; None if it can, or one queue alone is at fault."""
        polled = self.sample.failure if self.sample else None
        for failure in (polled, None if self.sample and not polled else self.failure):
            if failure is not None and failure.reason not in _QUEUE_LEVEL:
                return failure
        return None


_QUEUE_LEVEL = QUEUE_FAILURES | {QueueReason.DECLARE_FAILED}

_Said = tuple[Status | bool, str, str]


def build_status(queue: TaskQueue, view: QueueView, now: datetime) -> TaskQueueStatus:
    """The status at `now` (aware); transition times are kept from the status that the queue has."""
    said: dict[ConditionType, _Said] = {
        ConditionType.READY: _ready(queue, view),
        ConditionType.BROKER_REACHABLE: _reachable(view),
        ConditionType.DRIFTED: _drifted(view),
        ConditionType.LIMITED: _limited(view),
    }
    if view.deleting is not None:
        said[ConditionType.DELETING] = (True, view.deleting.reason, view.deleting.message)
    fresh = [
        condition(type_, status, reason, message, now=now, generation=queue.metadata.generation)
        for type_, (status, reason, message) in said.items()
    ]
    conditions = merge_conditions(queue.status.conditions, fresh)
    depth = view.sample.depth if view.sample else None
    status = TaskQueueStatus(
        observed_generation=queue.metadata.generation,
        summary=summarize(conditions)[:64],
        queue_name=queue.queue_name,
        broker=view.broker,
        conditions=conditions,
    )
    if depth is None or view.sample is None:
        return status
    held = depth.unacknowledged
    return status.model_copy(
        update={
            "messages": QueueMessages(
                ready=depth.ready,
                unacknowledged=held,
                dead=depth.dead,
                total=depth.ready + held if held is not None else None,
            ),
            "consumers": depth.consumers,
            "publish_rate": _rounded(depth.publish_rate),
            "deliver_rate": _rounded(depth.deliver_rate),
            "oldest_message_age": depth.oldest_age,
            "last_polled": datetime.fromtimestamp(int(view.sample.at), UTC),
        }
    )


def transitions(before: tuple[Condition, ...], after: tuple[Condition, ...]) -> list[Condition]:
    """The conditions worth an event: those that turned, and at first sight those that are not at rest."""
    old = {item.type: item for item in before}
    return [
        item
        for item in after
        if item.status != "Unknown"
        and (
            _turned(old[item.type], item)
            if item.type in old
            else not is_rest(item) or item.type == ConditionType.READY
        )
    ]


def is_rest(item: Condition) -> bool:
    """Whether a condition says that nothing needs a look."""
    good = "True" if item.type in (ConditionType.READY, ConditionType.BROKER_REACHABLE) else "False"
    return item.status == good


def _turned(old: Condition, new: Condition) -> bool:
    if old.status == "Unknown" and is_rest(new) and new.type != ConditionType.READY:
        return False
    return (old.status, old.reason) != (new.status, new.reason)


def _ready(queue: TaskQueue, view: QueueView) -> _Said:
    if view.invalid is not None:
        return False, QueueReason.INVALID_SPEC, view.invalid
    if view.holder is not None:
        return (
            False,
            QueueReason.QUEUE_NAME_CONFLICT,
            f"the older TaskQueue {view.holder} stands for queue {queue.queue_name} at this broker: delete"
            " one of the two, or choose another queueName in a new TaskQueue",
        )
    if (failure := view.unreachable) is not None:
        return ("Unknown" if view.ensured else False), failure.reason, failure.message
    if view.plan is None:
        return "Unknown", QueueReason.PENDING, "the broker has not been asked yet"
    if view.plan.refusals:
        first = view.plan.refusals[0]
        return False, first.reason, first.message
    if view.failure is not None:
        return False, view.failure.reason, view.failure.message
    if view.ensured is None:
        return "Unknown", QueueReason.PENDING, "the broker has not been asked yet"
    if view.ensured.foreign:
        return False, QueueReason.NOT_A_QUEUE, "; ".join(view.ensured.drift)
    if view.sample is not None and view.sample.failure is not None:
        return False, view.sample.failure.reason, view.sample.failure.message
    message = f"queue {queue.queue_name} is at the broker"
    if view.ensured.drift:
        message += " as it was declared before (see Drifted)"
    if view.plan.clients:
        message += f"; clients that send to it must be configured with {' and '.join(view.plan.clients)}"
    return True, QueueReason.SYNCED, message


def _reachable(view: QueueView) -> _Said:
    if (failure := view.unreachable) is not None:
        return False, failure.reason, failure.message
    if view.sample is None and view.ensured is None:
        return "Unknown", QueueReason.PENDING, "the broker has not been asked yet"
    return True, QueueReason.CONNECTED, f"{view.broker or 'the broker'} answers"


def _drifted(view: QueueView) -> _Said:
    if view.ensured is None:
        return "Unknown", QueueReason.PENDING, "the queue has not been compared yet"
    if view.ensured.drift:
        return True, QueueReason.ARGUMENTS_DIFFER, "; ".join(view.ensured.drift)
    return False, QueueReason.IN_SYNC, ""


def _limited(view: QueueView) -> _Said:
    limits = view.ensured.limits if view.ensured else view.plan.limits if view.plan else None
    if limits is None:
        return "Unknown", QueueReason.PENDING, "the broker has not been asked yet"
    refused = view.plan.refusals if view.plan else ()
    if said := (*refused, *limits):
        return True, said[0].reason, "; ".join(item.message for item in said)
    return False, QueueReason.IN_EFFECT, ""


def _rounded(rate: float | None) -> float | None:
    return round(rate, 1) if rate is not None else None
