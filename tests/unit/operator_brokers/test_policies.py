"""Policies against a management API in memory: newer brokers, and other people's policies."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from taskyard_operator.brokers.management import BrokerPolicy, ManagementError
from taskyard_operator.brokers.policies import apply_policies
from taskyard_operator.core.queue_plan import CONSUMER_TIMEOUT, Limit, Policy

NAMES = ("taskyard.email", "taskyard-dead.email")
PLAIN = Policy(NAMES[0], "email", {"message-ttl": 5000}, defaults={"consumer-timeout": CONSUMER_TIMEOUT})


@dataclass
class FakeManagement:
    """What :class:`taskyard_operator.brokers.management.Management` does with policies."""

    number: tuple[int, ...] = (3, 13, 1)
    present: list[BrokerPolicy] = field(default_factory=list)
    operators: list[BrokerPolicy] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    async def version(self) -> tuple[int, ...]:
        return self.number

    async def policies(self) -> list[BrokerPolicy]:
        return list(self.present)

    async def operator_policies(self) -> list[BrokerPolicy]:
        return self.operators

    async def put_policy(self, policy: BrokerPolicy) -> None:
        self.calls.append(f"put {policy.name}")
        if "consumer-timeout" in policy.definition and self.number < (3, 12):
            raise ManagementError(400, "consumer-timeout is not recognised")
        self.present = [item for item in self.present if item.name != policy.name] + [policy]

    async def delete_policy(self, name: str) -> None:
        self.calls.append(f"delete {name}")
        self.present = [item for item in self.present if item.name != name]

    def apply(self, *policies: Policy, queue_type: str = "classic") -> Sequence[Limit]:
        return asyncio.run(apply_policies(self, policies, NAMES, queue_type))  # type: ignore[arg-type]

    def definition(self, name: str = NAMES[0]) -> object:
        return next(item.definition for item in self.present if item.name == name)


def test_long_tasks_keep_their_channel_where_the_broker_knows_how() -> None:
    new = FakeManagement()
    assert new.apply(PLAIN) == ()
    assert new.definition() == {"message-ttl": 5000, "consumer-timeout": CONSUMER_TIMEOUT}
    new.apply(PLAIN)
    assert new.calls == ["put taskyard.email"]
    old = FakeManagement((3, 10, 8))
    assert old.apply(PLAIN) == ()
    assert old.definition() == {"message-ttl": 5000}
    old.apply(PLAIN)
    assert old.calls == ["put taskyard.email", "put taskyard.email"]  # the refused one and the other
    old.number = (3, 13, 1)  # upgraded
    old.apply(PLAIN)
    assert old.definition() == {"message-ttl": 5000, "consumer-timeout": CONSUMER_TIMEOUT}


def test_somebody_elses_consumer_timeout_is_kept() -> None:
    broker = FakeManagement(present=[BrokerPolicy("wide", ".*", "all", 0, {"consumer-timeout": 1})])
    broker.apply(PLAIN)
    assert broker.definition() == {"message-ttl": 5000, "consumer-timeout": 1}


def test_only_our_own_stale_policies_are_deleted() -> None:
    others = [
        BrokerPolicy("taskyard.other", "^other$", "queues", 50, {"message-ttl": 1}),
        BrokerPolicy("mine", "^email$", "queues", 0, {"message-ttl": 1}),
    ]
    broker = FakeManagement(
        present=[*others, BrokerPolicy(NAMES[1], "^x$", "queues", 49, {"message-ttl": 1})]
    )
    broker.apply()
    assert broker.present == others
    assert broker.calls == [f"delete {NAMES[1]}"]


def test_policies_that_do_not_match_are_no_matter() -> None:
    broker = FakeManagement(
        present=[
            BrokerPolicy("exchanges", ".*", "exchanges", 99, {"alternate-exchange": "x"}),
            BrokerPolicy("quorum", ".*", "quorum_queues", 99, {"max-length": 1}),
            BrokerPolicy("other", "^emails", "queues", 99, {"max-length": 1}),
            BrokerPolicy("erlang", "(*VERB)(", "queues", 99, {"max-length": 1}),
        ]
    )
    assert broker.apply(PLAIN) == ()
    (limit,) = broker.apply(PLAIN, queue_type="quorum")
    assert limit.reason == "PolicyShadowed"


def test_a_shadow_that_says_the_same_takes_nothing_away() -> None:
    broker = FakeManagement(
        present=[BrokerPolicy("same", "email", "all", 99, {"message-ttl": 5000, "max-length": 1})]
    )
    assert broker.apply(PLAIN) == ()


def test_operator_policies_only_matter_where_they_take_away() -> None:
    broker = FakeManagement()
    cases: list[tuple[dict[str, str | int], str]] = [
        ({"message-ttl": 9000}, ""),
        ({"message-ttl": 5000}, ""),
        ({"message-ttl": 4999}, "messageTTL = 4999"),
        ({"max-length": 3, "ha-mode": "all"}, "maxLength = 3"),
        ({"expires": 60}, "expires = 60"),
    ]
    for definition, told in cases:
        broker.operators = [BrokerPolicy("limits", ".*", "queues", 0, definition)]
        limits = broker.apply(PLAIN)
        assert [item.reason for item in limits] == (["OperatorPolicy"] if told else [])
        assert all(f"sets {told} for queue email" in item.message for item in limits)
