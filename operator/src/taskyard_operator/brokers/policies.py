"""RabbitMQ policies for one queue: made, kept as planned, and checked against those of other people.

Of the policies that match a queue only the one with the highest priority applies, as a whole; operator
policies are laid over it. So ours takes in what the policy says that it hides, and where another hides
ours, or an operator policy changes a value, that is reported: nobody else's policy is ever touched.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskyard_operator.api.names import QueueReason
from taskyard_operator.brokers.management import BrokerPolicy, Management, ManagementError
from taskyard_operator.core.queue_plan import SPEC_FIELDS, Arguments, Limit, Policy

_NARROWING = ("message-ttl", "max-length", "max-length-bytes", "expires", "delivery-limit")
"""Keys of an operator policy that take messages away, of which the broker heeds the smaller value."""


async def apply_policies(
    management: Management, policies: Sequence[Policy], names: Sequence[str], queue_type: str
) -> tuple[Limit, ...]:
    """Bring the policies called `names` to what is planned; what is not in effect all the same."""
    present = await management.policies()
    operators = await management.operator_policies() if policies else []
    planned = {policy.name for policy in policies}
    for name in {item.name for item in present} & set(names) - planned:
        await management.delete_policy(name)
    limits: list[Limit] = []
    for policy in policies:
        others = [
            item
            for item in present
            if not item.name.startswith(("taskyard.", "taskyard-dead."))
            and item.applies_to(policy.queue, queue_type)
        ]
        hidden = max(
            (item for item in others if item.priority < policy.priority),
            key=lambda item: item.priority,
            default=None,
        )
        current = next((item for item in present if item.name == policy.name), None)
        await _put(management, policy, hidden.definition if hidden else {}, current)
        limits += _shadowed(policy, [item for item in others if item.priority >= policy.priority])
        limits += _narrowed(policy, [item for item in operators if item.applies_to(policy.queue, queue_type)])
    return tuple(limits)


async def remove_policies(management: Management, names: Sequence[str]) -> None:
    """Delete the policies called `names`."""
    for name in names:
        await management.delete_policy(name)


async def _put(
    management: Management, policy: Policy, hidden: Arguments, current: BrokerPolicy | None
) -> None:
    full = {**policy.defaults, **hidden, **policy.definition}
    # A broker that does not know a default key (consumer-timeout before 3.12) refused it before.
    without = {**hidden, **policy.definition}
    wanted = BrokerPolicy(policy.name, policy.pattern, "queues", policy.priority, full)
    lesser = BrokerPolicy(policy.name, policy.pattern, "queues", policy.priority, without)
    if current == wanted or (policy.defaults and current == lesser and await _too_old(management)):
        return
    try:
        await management.put_policy(wanted)
    except ManagementError as problem:
        if problem.status != 400 or full == without:
            raise
        if current != lesser:
            await management.put_policy(lesser)


async def _too_old(management: Management) -> bool:
    return await management.version() < (3, 12)


def _shadowed(policy: Policy, others: Sequence[BrokerPolicy]) -> list[Limit]:
    if not others:
        return []
    first = max(others, key=lambda item: item.priority)
    missing = sorted(
        {
            SPEC_FIELDS.get(key, key)
            for key, value in policy.definition.items()
            if first.definition.get(key) != value
        }
    )
    if not missing:
        return []
    return [
        Limit(
            QueueReason.POLICY_SHADOWED,
            f"{', '.join(missing)} of queue {policy.queue} not in effect: policy {first.name!r} (pattern"
            f" {first.pattern!r}, priority {first.priority}) comes before {policy.name!r} (priority"
            f" {policy.priority}). Lower its priority, narrow its pattern or put these settings into it",
        )
    ]


def _narrowed(policy: Policy, operators: Sequence[BrokerPolicy]) -> list[Limit]:
    if not operators:
        return []
    first = max(operators, key=lambda item: item.priority)
    changes = []
    for key, value in sorted(first.definition.items()):
        ours = policy.definition.get(key)
        if ours == value:
            continue
        if key in _NARROWING and isinstance(ours, int) and isinstance(value, int) and value > ours:
            continue
        if key in _NARROWING or ours is not None:
            changes.append(f"{SPEC_FIELDS.get(key, key)} = {value}")
    if not changes:
        return []
    return [
        Limit(
            QueueReason.OPERATOR_POLICY,
            f"operator policy {first.name!r} (pattern {first.pattern!r}) sets {', '.join(changes)} for queue"
            f" {policy.queue}, which comes before the spec: change it there, or the spec here",
        )
    ]
