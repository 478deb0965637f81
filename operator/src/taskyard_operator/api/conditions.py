"""Kubernetes' standard condition, and how a list of them changes and is summed up in one word."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from .model import ApiModel, Timestamp
from .names import ConditionType

Status = Literal["True", "False", "Unknown"]


class Condition(ApiModel):
    """One aspect of the resource's state (Kubernetes' metav1.Condition)."""

    type: Annotated[str, Field(max_length=316, pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    """What the condition is about, in CamelCase; one of each type."""

    status: Status
    """Whether it holds: True, False or Unknown."""

    reason: Annotated[
        str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    ]
    """Why, as one CamelCase word that programs may compare."""

    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, in words for people, with what to do about it."""

    last_transition_time: Timestamp
    """When the status last changed; a new reason or message alone does not change it."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The metadata.generation that this condition was worked out for."""

    def says_the_same(self, other: "Condition") -> bool:
        """Whether both say the same, whenever they began to."""
        return self.model_copy(update={"last_transition_time": other.last_transition_time}) == other


def condition(
    type_: ConditionType,
    status: Status | bool,
    reason: str,
    message: str = "",
    *,
    now: datetime,
    generation: int | None = None,
) -> Condition:
    """Return a condition that began at ``now`` (aware); a bool stands for True and False."""
    text: Status = status if isinstance(status, str) else ("True" if status else "False")
    return Condition(
        type=str(type_),
        status=text,
        reason=str(reason),
        message=message[:32768],
        last_transition_time=now.replace(microsecond=0),
        observed_generation=generation,
    )


def merge_conditions(before: Iterable[Condition], after: Iterable[Condition]) -> tuple[Condition, ...]:
    """Return ``after`` with the transition time of ``before`` wherever the status did not change.

    Conditions of ``before`` that ``after`` does not name are dropped: ``after`` is the whole truth.
    """
    old = {item.type: item for item in before}
    merged = []
    for item in after:
        previous = old.get(item.type)
        if previous is not None and previous.status == item.status:
            item = item.model_copy(update={"last_transition_time": previous.last_transition_time})
        merged.append(item)
    return tuple(merged)


def summarize(conditions: Iterable[Condition]) -> str:
    """Return one word for the STATUS column: the reason that a person should see first.

    Trouble comes before change, change before rest: a Degraded pool says why, a pool that rolls out says so,
    else the reason of Available or Ready speaks.
    """
    by_type = {item.type: item for item in conditions}
    for type_, status in _MOST_TELLING:
        found = by_type.get(type_)
        if found is not None and found.status == status:
            return found.reason
    return "Unknown"


_MOST_TELLING: tuple[tuple[ConditionType, Status], ...] = (
    (ConditionType.DELETING, "True"),
    (ConditionType.BROKER_REACHABLE, "False"),
    (ConditionType.DEGRADED, "True"),
    (ConditionType.DRIFTED, "True"),
    (ConditionType.READY, "False"),
    (ConditionType.AVAILABLE, "False"),
    (ConditionType.PROGRESSING, "True"),
    (ConditionType.READY, "True"),
    (ConditionType.AVAILABLE, "True"),
)
