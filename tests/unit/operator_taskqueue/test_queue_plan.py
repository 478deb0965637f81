"""From a spec to what a broker should have."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard_operator.api.names import QueueReason
from taskyard_operator.api.taskqueue import TaskQueueSpec
from taskyard_operator.core.queue_plan import (
    LONGEST_TTL,
    BrokerFamily,
    QueueBinding,
    QueuePlan,
    exact_pattern,
    plan_queue,
    policy_limit,
)

NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Z"), exclude_characters=","), min_size=1, max_size=40
)
SECONDS = st.integers(1, 9_000_000)


@st.composite
def specs(draw: st.DrawFn) -> TaskQueueSpec:
    spec: dict[str, Any] = {"type": draw(st.sampled_from(["classic", "quorum"]))}
    for field, values in {
        "queueName": NAMES,
        "maxPriority": st.integers(0, 255),
        "messageTTL": SECONDS,
        "maxLength": st.integers(1, 10**9),
        "overflow": st.sampled_from(["drop-head", "reject-publish", "reject-publish-dlx"]),
        "bindings": st.lists(
            st.fixed_dictionaries(
                {
                    "exchange": NAMES,
                    "exchangeType": st.sampled_from(["direct", "topic", "fanout"]),
                    "routingKey": NAMES,
                }
            ),
            max_size=3,
        ),
        "deadLetter": st.fixed_dictionaries(
            {"enabled": st.booleans(), "maxDeliveries": st.integers(1, 1000)},
            optional={"queueName": NAMES, "messageTTL": SECONDS},
        ),
    }.items():
        if draw(st.booleans()):
            spec[field] = draw(values)
    return TaskQueueSpec.model_validate(spec)


def plan(spec: dict[str, Any], family: BrokerFamily = BrokerFamily.RABBITMQ) -> QueuePlan:
    return plan_queue(TaskQueueSpec.model_validate(spec), "email", family)


@given(specs(), st.sampled_from(BrokerFamily))
def test_only_type_and_priorities_change_the_declaration(spec: TaskQueueSpec, family: BrokerFamily) -> None:
    made = plan_queue(spec, "email", family)
    wanted: dict[str, Any] = {}
    if family is BrokerFamily.RABBITMQ:
        if spec.type == "quorum":
            wanted["x-queue-type"] = "quorum"
        if spec.max_priority is not None:
            wanted["x-max-priority"] = spec.max_priority
    assert made.queue.arguments == wanted
    assert made.queue.name == (spec.queue_name or "email")
    assert bool(made.clients) == bool(wanted)
    if made.dead is not None:
        assert made.dead.arguments == {}


@given(specs(), st.sampled_from(BrokerFamily))
def test_the_binding_of_celery_comes_first_and_none_twice(spec: TaskQueueSpec, family: BrokerFamily) -> None:
    made = plan_queue(spec, "email", family)
    name = made.queue.name
    assert made.bindings[0] == QueueBinding(name, "direct", name)
    assert len(set(made.bindings)) == len(made.bindings)
    if family is BrokerFamily.REDIS:
        assert {item.exchange_type for item in made.bindings} == {"direct"}
    else:
        assert len(made.bindings) <= 1 + len(spec.bindings)


@given(specs())
def test_policies_are_for_this_queue_alone_and_known_by_name(spec: TaskQueueSpec) -> None:
    made = plan_queue(spec, "email", BrokerFamily.RABBITMQ)
    assert {policy.name for policy in made.policies} <= set(made.policy_names)
    for policy in made.policies:
        assert policy.queue in (made.queue.name, made.dead.name if made.dead else None)
        assert policy.definition
        assert policy.definition.get("message-ttl", 0) <= LONGEST_TTL  # type: ignore[operator]
    own = next((policy for policy in made.policies if policy.queue == made.queue.name), None)
    definition = own.definition if own else {}
    assert ("message-ttl" in definition) == (spec.message_ttl is not None)
    assert ("max-length" in definition) == ("overflow" in definition) == (spec.max_length is not None)
    assert ("dead-letter-routing-key" in definition) == spec.dead_letter.enabled
    if spec.dead_letter.enabled and spec.type == "quorum":
        assert definition["delivery-limit"] == spec.dead_letter.max_deliveries - 1
    else:
        assert "delivery-limit" not in definition
    assert not (spec.type == "quorum" and definition.get("overflow") == "reject-publish-dlx")


@given(specs())
def test_nothing_is_silently_ignored_on_redis(spec: TaskQueueSpec) -> None:
    made = plan_queue(spec, "email", BrokerFamily.REDIS)
    assert made.policies == ()
    told = {item.message.partition(":")[0] for item in (*made.refusals, *made.limits)}
    wanted = {
        "type": spec.type == "quorum",
        "maxPriority": (spec.max_priority or 0) > 9,
        "messageTTL": spec.message_ttl is not None,
        "maxLength": spec.max_length is not None,
        "bindings": any(item.exchange_type != "direct" for item in spec.bindings),
        "deadLetter.messageTTL": spec.dead_letter.enabled and spec.dead_letter.message_ttl is not None,
    }
    assert told == {field for field, is_told in wanted.items() if is_told}
    assert {item.reason for item in (*made.refusals, *made.limits)} <= {QueueReason.NOT_SUPPORTED}
    assert bool(made.refusals) == (spec.type == "quorum")


@given(NAMES, NAMES)
def test_a_pattern_matches_its_own_queue_alone(one: str, other: str) -> None:
    assert re.search(exact_pattern(one), one)
    assert bool(re.search(exact_pattern(one), other)) == (one == other)
    assert not re.search(exact_pattern(one), one + "x")
    assert not re.search(exact_pattern(one), "x" + one)


def test_the_dead_letter_queue_has_a_weaker_policy_of_its_own() -> None:
    queue, dead = plan({"messageTTL": "1h", "deadLetter": {"messageTTL": "7d"}}).policies
    assert (queue.name, queue.pattern) == ("taskyard.email", "^email$")
    assert (dead.name, dead.pattern) == ("taskyard-dead.email", r"^email\.dead$")
    assert dead.definition == {"message-ttl": 604_800_000}
    # A TaskQueue that stands for email.dead itself has the last word on it.
    assert dead.priority < plan({"queueName": "email.dead"}).policies[0].priority


def test_a_time_beyond_what_rabbitmq_can_is_capped_and_told() -> None:
    made = plan({"messageTTL": "90d"})
    assert made.policies[0].definition["message-ttl"] == LONGEST_TTL
    (limit,) = made.limits
    assert limit.message == "messageTTL: 90d is more than RabbitMQ's longest: 49d17h2m47s is set"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "dead letters are kept by Taskyard's own workers alone: why. remedy"),
        ({"messageTTL": "1h", "deadLetter": {"enabled": False}}, "messageTTL not in effect: why. remedy"),
        (
            {"type": "quorum", "maxLength": 3},
            "deadLetter.maxDeliveries, maxLength, overflow not in effect; dead letters are kept by Taskyard's"
            " own workers alone: why. remedy",
        ),
    ],
)
def test_what_needs_policies_is_named_by_its_field(spec: dict[str, Any], words: str) -> None:
    assert policy_limit(plan(spec).policies, "why", "remedy").message == words
