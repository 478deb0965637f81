"""TaskQueue: one queue at a broker, kept as the spec says."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field

from .conditions import Condition
from .durations import Elapsed, PositiveDuration
from .metadata import ObjectMeta
from .model import ApiModel, Schema, Timestamp, cel, validations
from .names import API_VERSION, TASKQUEUE_KIND

DEAD_LETTER_SUFFIX = ".dead"

#: No space, comma (``-Q`` separates queues by it) or control character (kombu's priority lists use them).
QueueName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s,\x00-\x1F\x7F]+$")]

_NOT_RESERVED = validations(
    cel(
        "!self.startsWith('amq.')",
        "names beginning with 'amq.' belong to RabbitMQ: choose another queueName",
        reason="FieldValueInvalid",
    )
)


def _effective_name(root: str) -> str:
    return f"(has({root}.spec.queueName) ? {root}.spec.queueName : {root}.metadata.name)"


class QueueType(StrEnum):
    """How RabbitMQ stores the queue."""

    CLASSIC = "classic"
    QUORUM = "quorum"


class Overflow(StrEnum):
    """What happens to a message when the queue is full."""

    DROP_HEAD = "drop-head"
    REJECT_PUBLISH = "reject-publish"
    REJECT_PUBLISH_DLX = "reject-publish-dlx"


class DeletionPolicy(StrEnum):
    """What happens to the broker's queue when the TaskQueue is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"
    PURGE = "Purge"


class SecretKeyRef(ApiModel):
    """A key in a Secret of the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)] = "taskyard-broker"
    """Name of the Secret."""

    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = "url"
    """Key whose value is the broker's URL as kombu takes it, such as amqp://user:password@host:5672/vhost or
    redis://:password@host:6379/0. A key management-url beside it names RabbitMQ's HTTP API where that is not
    at port 15672 of the same host.
    """


class BrokerSpec(ApiModel):
    """The broker that holds the queue."""

    secret_ref: SecretKeyRef = SecretKeyRef()
    """Where the broker's URL is read from; it is read again when it changes."""


class Binding(ApiModel):
    """A further way into the queue."""

    exchange: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s,\x00-\x1F\x7F]+$")]
    """Exchange from which messages come."""

    exchange_type: Literal["direct", "topic", "fanout"] = "direct"
    """Type of the exchange; a fanout exchange ignores routingKey."""

    routing_key: Annotated[str, Field(max_length=200)] = ""
    """Routing key, or with a topic exchange a pattern such as email.#."""


class DeadLetterSpec(ApiModel):
    """Where messages go that nobody can process."""

    enabled: bool = True
    """Whether failed messages are kept. When false, a message that is given up is lost."""

    queue_name: Annotated[QueueName, Schema(_NOT_RESERVED)] | None = None
    """Queue for the dead letters; by default the queue's own name followed by .dead."""

    max_deliveries: Annotated[int, Field(ge=1, le=1000)] = 5
    """How often a message is delivered before it becomes a dead letter, so that a task which kills its worker
    cannot go round for ever.
    """

    message_ttl: Annotated[PositiveDuration | None, Field(alias="messageTTL")] = None
    """How long a dead letter is kept; for ever by default."""


class TaskQueueSpec(ApiModel):
    """What the queue should be."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "has(self.maxPriority) == has(oldSelf.maxPriority)"
                " && (!has(self.maxPriority) || self.maxPriority == oldSelf.maxPriority)",
                "maxPriority cannot change, come or go: create a new TaskQueue and drain the old one",
            ),
            cel(
                "!has(self.maxPriority) || self.type == 'classic'",
                "maxPriority needs a classic queue: remove maxPriority, or set type to classic",
            ),
            cel(
                "!has(self.overflow) || has(self.maxLength)",
                "overflow says what happens at maxLength: set maxLength too, or remove overflow",
            ),
            cel(
                "!has(self.overflow) || self.overflow != 'reject-publish-dlx' || self.type == 'classic'",
                "a quorum queue cannot do overflow: reject-publish-dlx: use reject-publish or drop-head",
            ),
            cel(
                "!has(self.overflow) || self.overflow != 'reject-publish-dlx' || self.deadLetter.enabled",
                "overflow: reject-publish-dlx needs a dead-letter queue: set deadLetter.enabled to true",
            ),
        )
    )

    queue_name: Annotated[QueueName, Schema(_NOT_RESERVED)] | None = None
    """Name of the queue at the broker; by default the name of the TaskQueue. Cannot change."""

    broker: BrokerSpec = BrokerSpec()
    """The broker that holds the queue."""

    type: Annotated[
        QueueType,
        Schema(
            validations(
                cel(
                    "self == oldSelf",
                    "queue type cannot change: create a new TaskQueue and drain the old one",
                )
            )
        ),
    ] = QueueType.CLASSIC
    """RabbitMQ only. classic is what a plain Celery client declares; quorum is replicated, and clients must
    then be configured with task_create_missing_queue_type = "quorum" (task_default_queue_type for their
    default queue). Cannot change.
    """

    max_priority: Annotated[int, Field(ge=0, le=255)] | None = None
    """RabbitMQ classic queues only: the highest message priority (10 or less is wise). Clients must then be
    configured with the same task_queue_max_priority. Absent: no priorities. Cannot change.
    """

    message_ttl: Annotated[PositiveDuration | None, Field(alias="messageTTL")] = None
    """How long a message may wait before it expires, such as 24h; for ever by default."""

    max_length: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """How many messages may wait; any number by default."""

    overflow: Overflow | None = None
    """What happens at maxLength: reject-publish (the default: the sender is told), drop-head (the oldest
    message goes, to the dead letters where enabled) or reject-publish-dlx (the new message goes to the dead
    letters).
    """

    bindings: Annotated[tuple[Binding, ...], Field(max_length=64)] = ()
    """Further exchanges that feed the queue, besides the direct exchange of the queue's own name that Celery
    declares.
    """

    dead_letter: DeadLetterSpec = DeadLetterSpec()
    """Where messages go that nobody can process."""

    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """What happens to the broker's queue when this TaskQueue is deleted: Retain leaves it, Delete removes it
    once it is empty (until then the condition Deleting has the reason Blocked), Purge removes it with its
    messages.
    """

    def resolved_queue_name(self, metadata_name: str) -> str:
        """Return the queue's name at the broker."""
        return self.queue_name or metadata_name

    def resolved_dead_queue_name(self, metadata_name: str) -> str | None:
        """Return the dead-letter queue's name at the broker; None where dead letters are not kept."""
        if not self.dead_letter.enabled:
            return None
        return self.dead_letter.queue_name or self.resolved_queue_name(metadata_name) + DEAD_LETTER_SUFFIX

    @property
    def resolved_overflow(self) -> Overflow | None:
        """What happens at maxLength; None where there is no maxLength."""
        if self.max_length is None:
            return None
        return self.overflow or Overflow.REJECT_PUBLISH

    @property
    def needs_finalizer(self) -> bool:
        """Whether deleting the TaskQueue has work to do at the broker."""
        return self.deletion_policy is not DeletionPolicy.RETAIN


class QueueMessages(ApiModel):
    """Messages as the broker counted them at lastPolled; what it cannot count is absent."""

    ready: Annotated[int, Field(ge=0)] | None = None
    """Messages that a worker could take at once."""

    unacknowledged: Annotated[int, Field(ge=0)] | None = None
    """Messages that workers hold."""

    dead: Annotated[int, Field(ge=0)] | None = None
    """Messages in the dead-letter queue."""

    total: Annotated[int, Field(ge=0)] | None = None
    """Ready and unacknowledged messages together."""


class TaskQueueStatus(ApiModel):
    """What the operator saw; built anew from the world, never read back."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The metadata.generation that this status is about."""

    summary: Annotated[str, Field(max_length=64)] | None = None
    """The reason of the most telling condition, for the STATUS column."""

    queue_name: Annotated[str, Field(max_length=253)] | None = None
    """Name of the queue at the broker."""

    broker: Annotated[str, Field(max_length=512)] | None = None
    """The broker's transport and address, without user and password."""

    messages: QueueMessages | None = None
    """Messages as the broker counted them at lastPolled."""

    consumers: Annotated[int, Field(ge=0)] | None = None
    """Consumers that the broker knows."""

    publish_rate: Annotated[float, Field(ge=0)] | None = None
    """Messages that came in, per second."""

    deliver_rate: Annotated[float, Field(ge=0)] | None = None
    """Messages that went to workers, per second."""

    oldest_message_age: Elapsed | None = None
    """How long the oldest message has waited, where the broker can tell."""

    last_polled: Timestamp | None = None
    """When the broker was last read; these numbers are refreshed at most every 10 seconds, the operator's
    metrics have them live.
    """

    conditions: Annotated[
        tuple[Condition, ...],
        Field(max_length=16),
        Schema({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = ()
    """Ready, BrokerReachable, Drifted, Limited and, while it is being deleted, Deleting."""


class TaskQueue(ApiModel):
    """A queue at a broker: Taskyard declares it, keeps its settings, counts its messages and keeps its dead
    letters.
    """

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "self.metadata.name.size() <= 63",
                "metadata.name has more than 63 characters: shorten it and use spec.queueName",
            ),
            cel(
                f"{_effective_name('self')} == {_effective_name('oldSelf')}",
                "queueName cannot change: create a new TaskQueue and drain the old one",
                fieldPath=".spec.queueName",
            ),
            cel(
                f"!has(self.spec.deadLetter.queueName)"
                f" || self.spec.deadLetter.queueName != {_effective_name('self')}",
                "the dead-letter queue cannot be the queue itself: choose another deadLetter.queueName",
                fieldPath=".spec.deadLetter.queueName",
            ),
        )
    )

    api_version: str = API_VERSION
    """Group and version of the resource."""

    kind: str = TASKQUEUE_KIND
    """TaskQueue."""

    metadata: ObjectMeta
    """Kubernetes' own metadata."""

    spec: TaskQueueSpec = TaskQueueSpec()
    """What the queue should be."""

    status: TaskQueueStatus = TaskQueueStatus()
    """What the operator saw."""

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Self:
        """Read an object of the API server.

        Raises:
            pydantic.ValidationError: if it breaks the schema; ``describe_errors`` makes one line of it.
        """
        return cls.model_validate(body)

    @property
    def queue_name(self) -> str:
        """The queue's name at the broker."""
        return self.spec.resolved_queue_name(self.metadata.name)

    @property
    def dead_queue_name(self) -> str | None:
        """The dead-letter queue's name at the broker; None where dead letters are not kept."""
        return self.spec.resolved_dead_queue_name(self.metadata.name)

    @property
    def secret_ref(self) -> SecretKeyRef:
        """Where the broker's URL is, in the TaskQueue's own namespace."""
        return self.spec.broker.secret_ref
