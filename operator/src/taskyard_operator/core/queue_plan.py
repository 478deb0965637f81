"""What a broker should have for one TaskQueue: pure, from the spec alone.

An unmodified Celery client declares its queue bare each time it starts to publish, and RabbitMQ refuses a
declaration whose arguments differ. So whatever can be a policy is a policy, and only `type: quorum` and
`maxPriority` change the declaration. Names and meaning of arguments and policy keys:
https://www.rabbitmq.com/docs/queues#optional-arguments and https://www.rabbitmq.com/docs/parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from taskyard_operator.api.durations import format_duration
from taskyard_operator.api.names import QueueReason
from taskyard_operator.api.taskqueue import Overflow, QueueType, TaskQueueSpec

Arguments: TypeAlias = Mapping[str, str | int]

POLICY_PRIORITY = 50
"""Above the usual cluster-wide policies (0), below what somebody sets on purpose."""

LONGEST_TTL = 4_294_967_295
"""RabbitMQ's longest time to live in milliseconds (32 bits): 49 days."""

CONSUMER_TIMEOUT = 7 * 86_400_000
"""Milliseconds that a worker may hold a message before RabbitMQ closes its channel (30 minutes by default,
which ends every longer task that acknowledges late)."""

HIGHEST_REDIS_PRIORITY = 9
"""kombu keeps four lists on Redis for the priorities 0 to 9, where 0 comes first."""

SPEC_FIELDS: Mapping[str, str] = {
    "message-ttl": "messageTTL",
    "max-length": "maxLength",
    "overflow": "overflow",
    "dead-letter-exchange": "deadLetter",
    "dead-letter-routing-key": "deadLetter",
    "delivery-limit": "deadLetter.maxDeliveries",
}
"""The field of the spec that a policy key carries out."""


class BrokerFamily(StrEnum):
    """A kind of broker."""

    RABBITMQ = "RabbitMQ"
    REDIS = "Redis"


@dataclass(frozen=True, slots=True)
class QueueDeclaration:
    """A durable queue and the arguments of its declaration."""

    name: str
    arguments: Arguments = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueueBinding:
    """A durable exchange and the key under which it feeds the queue."""

    exchange: str
    exchange_type: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class Policy:
    """One RabbitMQ policy for exactly one queue.

    `defaults` yield to policies of others that apply to the queue, `definition` does not.
    """

    name: str
    queue: str
    definition: Arguments
    defaults: Arguments = field(default_factory=dict)
    priority: int = POLICY_PRIORITY

    @property
    def pattern(self) -> str:
        """Matches the queue's name and nothing else."""
        return exact_pattern(self.queue)


@dataclass(frozen=True, slots=True)
class Limit:
    """A part of the spec that is not in effect: `reason` in CamelCase, `message` with what helps."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """The broker's side of one TaskQueue.

    `policy_names` are all that the operator ever gives this queue: those without a `Policy` are removed.
    `refusals` are parts of the spec without which the queue is not what was asked for, `limits` parts
    that are missing from a queue that works, `clients` what clients must be configured with.
    """

    family: BrokerFamily
    queue: QueueDeclaration
    bindings: tuple[QueueBinding, ...] = ()
    dead: QueueDeclaration | None = None
    policies: tuple[Policy, ...] = ()
    policy_names: tuple[str, ...] = ()
    refusals: tuple[Limit, ...] = ()
    limits: tuple[Limit, ...] = ()
    clients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EnsureResult:
    """What came of a plan.

    `drift` are differences that the broker refuses to change, one sentence each; `foreign` says that the
    queue is surely somebody else's (a stream, not durable, …), so that nothing was changed.
    """

    created: bool = False
    drift: tuple[str, ...] = ()
    foreign: bool = False
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class RemovalResult:
    """Whether all is gone that should be; `blocked` says what keeps the queue."""

    blocked: str | None = None


def plan_queue(spec: TaskQueueSpec, name: str, family: BrokerFamily) -> QueuePlan:
    """The plan for the TaskQueue of that `metadata.name` on a broker of that family."""
    return _plan_rabbitmq(spec, name) if family is BrokerFamily.RABBITMQ else _plan_redis(spec, name)


def exact_pattern(queue: str) -> str:
    """A regular expression, in the part common to Python and PCRE, that matches only `queue`."""
    return f"^{re.escape(queue)}$"


def policy_limit(policies: tuple[Policy, ...], why: str, remedy: str) -> Limit:
    """The limit for policies that cannot be set."""
    keys = {key for policy in policies for key in policy.definition}
    fields = sorted({SPEC_FIELDS.get(key, key) for key in keys} - {"deadLetter"})
    parts = []
    if fields:
        parts.append(f"{', '.join(fields)} not in effect")
    if "dead-letter-exchange" in keys:
        parts.append("dead letters are kept by Taskyard's own workers alone")
    return Limit(QueueReason.POLICIES_UNAVAILABLE, f"{'; '.join(parts)}: {why}. {remedy}")


def _plan_rabbitmq(spec: TaskQueueSpec, name: str) -> QueuePlan:
    queue = spec.resolved_queue_name(name)
    dead = spec.resolved_dead_queue_name(name)
    arguments: dict[str, str | int] = {}
    clients: list[str] = []
    if spec.type is QueueType.QUORUM:
        arguments["x-queue-type"] = "quorum"
        # Celery has one setting for queues it learns by name and another for its default queue.
        clients.append(
            'task_create_missing_queue_type = "quorum" (task_default_queue_type for their default queue)'
        )
    if spec.max_priority is not None:
        arguments["x-max-priority"] = spec.max_priority
        clients.append(f"task_queue_max_priority = {spec.max_priority}")
    names = (f"taskyard.{queue}", f"taskyard-dead.{queue}")
    limits: list[Limit] = []
    definition = _definition(spec, dead, limits)
    policies: list[Policy] = []
    if definition:
        policies.append(Policy(names[0], queue, definition, defaults={"consumer-timeout": CONSUMER_TIMEOUT}))
    if dead is not None and spec.dead_letter.message_ttl is not None:
        ttl = _ttl("deadLetter.messageTTL", spec.dead_letter.message_ttl, limits)
        # One less: a TaskQueue that stands for the dead-letter queue itself has the last word.
        policies.append(Policy(names[1], dead, {"message-ttl": ttl}, priority=POLICY_PRIORITY - 1))
    return QueuePlan(
        family=BrokerFamily.RABBITMQ,
        queue=QueueDeclaration(queue, arguments),
        bindings=_bindings(spec, queue),
        dead=QueueDeclaration(dead) if dead is not None else None,
        policies=tuple(policies),
        policy_names=names,
        limits=tuple(limits),
        clients=tuple(clients),
    )


def _definition(spec: TaskQueueSpec, dead: str | None, limits: list[Limit]) -> dict[str, str | int]:
    definition: dict[str, str | int] = {}
    if spec.message_ttl is not None:
        definition["message-ttl"] = _ttl("messageTTL", spec.message_ttl, limits)
    if spec.max_length is not None:
        definition["max-length"] = spec.max_length
    if (overflow := spec.resolved_overflow) is not None:
        definition["overflow"] = str(overflow)
        if overflow is Overflow.REJECT_PUBLISH_DLX and spec.type is QueueType.QUORUM:
            definition["overflow"] = str(Overflow.REJECT_PUBLISH)
            limits.append(
                Limit(
                    QueueReason.NOT_SUPPORTED,
                    "overflow: reject-publish-dlx is not for quorum: reject-publish is set",
                )
            )
    if dead is not None:
        definition["dead-letter-exchange"] = ""
        definition["dead-letter-routing-key"] = dead
        if spec.type is QueueType.QUORUM:
            # The limit counts what follows the first delivery.
            definition["delivery-limit"] = spec.dead_letter.max_deliveries - 1
    return definition


def _ttl(name: str, seconds: int, limits: list[Limit]) -> int:
    milliseconds = seconds * 1000
    if milliseconds <= LONGEST_TTL:
        return milliseconds
    longest = format_duration(LONGEST_TTL // 1000)
    limits.append(
        Limit(
            QueueReason.NOT_SUPPORTED,
            f"{name}: {format_duration(seconds)} is more than RabbitMQ's longest: {longest} is set",
        )
    )
    return LONGEST_TTL


def _bindings(spec: TaskQueueSpec, queue: str) -> tuple[QueueBinding, ...]:
    own = QueueBinding(queue, "direct", queue)
    further = (
        QueueBinding(item.exchange, str(item.exchange_type), item.routing_key) for item in spec.bindings
    )
    return tuple(dict.fromkeys((own, *further)))


def _plan_redis(spec: TaskQueueSpec, name: str) -> QueuePlan:
    queue = spec.resolved_queue_name(name)
    dead = spec.resolved_dead_queue_name(name)
    refusals: list[Limit] = []
    if spec.type is QueueType.QUORUM:
        refusals.append(
            Limit(
                QueueReason.NOT_SUPPORTED,
                "type: quorum is RabbitMQ's: on Redis leave type out and replicate the Redis server",
            )
        )
    bindings = _bindings(spec, queue)
    return QueuePlan(
        family=BrokerFamily.REDIS,
        queue=QueueDeclaration(queue),
        bindings=tuple(item for item in bindings if item.exchange_type == "direct"),
        dead=QueueDeclaration(dead) if dead is not None else None,
        refusals=tuple(refusals),
        limits=tuple(Limit(QueueReason.NOT_SUPPORTED, text) for text in _redis_limits(spec)),
    )


def _redis_limits(spec: TaskQueueSpec) -> list[str]:
    limits: list[str] = []
    if spec.max_priority is not None and spec.max_priority > HIGHEST_REDIS_PRIORITY:
        limits.append(
            f"maxPriority: {spec.max_priority}: Redis has the priorities 0 to {HIGHEST_REDIS_PRIORITY}, and"
            " needs no setting for them (0 comes first): create a TaskQueue without maxPriority"
        )
    if spec.message_ttl is not None:
        limits.append("messageTTL: messages on Redis do not expire: send tasks with expires= instead")
    if spec.max_length is not None:
        limits.append("maxLength: a list on Redis has no limit: remove maxLength, or use RabbitMQ")
    for item in spec.bindings:
        if item.exchange_type != "direct":
            limits.append(
                f"bindings: the {item.exchange_type} exchange {item.exchange!r}: on Redis only direct"
                " bindings are made: use exchangeType: direct, or RabbitMQ"
            )
    if spec.dead_letter.enabled and spec.dead_letter.message_ttl is not None:
        limits.append(
            "deadLetter.messageTTL: dead letters on Redis do not expire: remove it and empty the queue"
            " when you have looked at them"
        )
    return limits
