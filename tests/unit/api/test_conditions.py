"""Conditions keep the time of their last change, and are summed up in the word that matters most."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from taskyard_operator.api.conditions import Condition, condition, merge_conditions, summarize
from taskyard_operator.api.names import ConditionType, PoolReason, QueueReason

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def make(type_: ConditionType, status: bool, reason: str = "Because", later: int = 0) -> Condition:
    return condition(type_, status, reason, now=NOW + timedelta(seconds=later))


def test_json_is_kubernetes() -> None:
    made = condition(ConditionType.READY, True, QueueReason.SYNCED, "all is well", now=NOW, generation=3)
    assert made.to_json() == {
        "type": "Ready",
        "status": "True",
        "reason": "Synced",
        "message": "all is well",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
        "observedGeneration": 3,
    }
    assert Condition.model_validate(made.to_json()) == made


def test_the_time_stays_while_the_status_stays() -> None:
    before = [make(ConditionType.READY, True), make(ConditionType.DRIFTED, False)]
    after = [make(ConditionType.READY, True, "Other", 60), make(ConditionType.DRIFTED, True, later=60)]
    merged = {item.type: item for item in merge_conditions(before, after)}
    assert merged["Ready"].last_transition_time == NOW.replace(microsecond=0)
    assert merged["Ready"].reason == "Other"
    assert merged["Drifted"].last_transition_time == NOW.replace(microsecond=0) + timedelta(seconds=60)


def test_what_is_no_longer_named_goes() -> None:
    assert merge_conditions([make(ConditionType.DELETING, True)], []) == ()


def test_saying_the_same_is_not_about_time() -> None:
    assert make(ConditionType.READY, True).says_the_same(make(ConditionType.READY, True, later=9))
    assert not make(ConditionType.READY, True).says_the_same(make(ConditionType.READY, False))


@pytest.mark.parametrize(
    ("conditions", "word"),
    [
        ([], "Unknown"),
        ([make(ConditionType.READY, True, "Synced")], "Synced"),
        (
            [make(ConditionType.READY, True, "Synced"), make(ConditionType.DRIFTED, True, "ArgumentsDiffer")],
            "ArgumentsDiffer",
        ),
        (
            [
                make(ConditionType.READY, False, "DeclareFailed"),
                make(ConditionType.BROKER_REACHABLE, False, "Unreachable"),
            ],
            "Unreachable",
        ),
        (
            [
                make(ConditionType.AVAILABLE, True, "WorkersReady"),
                make(ConditionType.PROGRESSING, False, "RolloutComplete"),
            ],
            "WorkersReady",
        ),
        (
            [
                make(ConditionType.AVAILABLE, True, "WorkersReady"),
                make(ConditionType.PROGRESSING, True, "RollingOut"),
            ],
            "RollingOut",
        ),
        (
            [
                make(ConditionType.PROGRESSING, True, "RollingOut"),
                make(ConditionType.DEGRADED, True, "CrashLoop"),
            ],
            "CrashLoop",
        ),
    ],
)
def test_summary(conditions: list[Condition], word: str) -> None:
    assert summarize(conditions) == word


def test_a_condition_needs_a_reason() -> None:
    with pytest.raises(ValidationError):
        condition(ConditionType.READY, True, "", now=NOW)


@pytest.mark.parametrize("reason", [*QueueReason, *PoolReason])
def test_every_reason_is_a_word_that_the_crd_takes(reason: str) -> None:
    assert reason.isalpha()
    assert reason[0].isupper()
    assert condition(ConditionType.READY, True, reason, now=NOW).reason == reason
