"""WorkerPool: workers of one application that consume some queues."""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field

from .autoscaling import MAX_REPLICAS, AutoscalingSpec
from .conditions import Condition
from .durations import Duration, DurationInHours, Elapsed, PositiveDuration
from .metadata import ObjectMeta
from .model import ApiModel, Schema, Timestamp, cel, validations
from .names import API_VERSION, MAX_POOL_NAME, WORKERPOOL_KIND
from .quantities import Memory, Share

_FREE_OBJECT = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


class Runtime(StrEnum):
    """What runs in the worker container."""

    TASKYARD = "taskyard"
    CELERY = "celery"


class PoolKind(StrEnum):
    """How a worker runs several tasks at a time."""

    PREFORK = "prefork"
    THREADS = "threads"
    ASYNCIO = "asyncio"
    GEVENT = "gevent"
    EVENTLET = "eventlet"
    SOLO = "solo"


class LogLevel(StrEnum):
    """The least severe log line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class RolloutSpec(ApiModel):
    """How a new revision replaces the old one: new workers first, and an old one goes when it has no task."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.maxSurge) || !has(self.maxUnavailable)"
                " || !(string(self.maxSurge) in ['0', '0%', '00%'])"
                " || !(string(self.maxUnavailable) in ['0', '0%', '00%'])",
                "maxSurge and maxUnavailable are both 0, so no rollout could begin: raise one of them",
            )
        )
    )

    max_surge: Share = "25%"
    """How many workers there may be beyond the wanted number during a rollout, as a number or a percentage,
    rounded up. Old workers that only finish their tasks do not count.
    """

    max_unavailable: Share = 0
    """How many of the wanted workers may be missing during a rollout, as a number or a percentage, rounded
    down.
    """

    progress_deadline: PositiveDuration = 600
    """How long a new revision may take to bring up its next worker before the pool is reported as stuck; the
    old workers go on.
    """


class ShutdownSpec(ApiModel):
    """How a worker ends."""

    grace_period: PositiveDuration = 60
    """How long running tasks may take when somebody else deletes the pod (a node drain, kubectl delete pod);
    what is not done by then goes back to the queue.
    """

    drain_timeout: Duration = 0
    """How long the operator waits for a worker that it drains, in a scale-down or a rollout, before the pod
    is deleted all the same; 0s waits for ever.
    """


class DisruptionBudgetSpec(ApiModel):
    """How many workers an eviction, such as a node drain, may take at a time."""

    max_unavailable: Share = 1
    """The most workers that may be missing because of evictions, as a number or a percentage; 100% lets every
    eviction through.
    """


class PodTemplate(ApiModel):
    """A PodTemplateSpec that is merged strategically over the one that the operator makes.

    Its parts are free objects, held to the PodTemplateSpec by the API server when the pods are made.
    """

    metadata: Annotated[dict[str, Any], Schema(_FREE_OBJECT)] = Field(default_factory=dict)
    """Labels and annotations for the pods."""

    spec: Annotated[
        dict[str, Any],
        Schema(
            _FREE_OBJECT
            | {
                "properties": {
                    "restartPolicy": {
                        "type": "string",
                        "maxLength": 16,
                        "description": "Always, or left out: a worker is restarted when it exits.",
                    }
                }
            }
            | validations(
                cel(
                    "!has(self.restartPolicy) || self.restartPolicy == 'Always'",
                    "a worker must be restarted when it exits: remove restartPolicy or set it to Always",
                    fieldPath=".restartPolicy",
                )
            )
        ),
    ] = Field(default_factory=dict)
    """A PodSpec, as far as it should differ; the worker's own container is the one named worker."""


class WorkerPoolSpec(ApiModel):
    """What the pool should be."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.softTimeLimit) || !has(self.timeLimit)"
                " || duration(self.softTimeLimit) <= duration(self.timeLimit)",
                "softTimeLimit is more than timeLimit: lower softTimeLimit or raise timeLimit",
                fieldPath=".softTimeLimit",
            ),
            cel(
                "self.runtime != 'celery' || self.pool != 'asyncio'",
                "a stock Celery worker has no asyncio pool: choose another pool, or runtime: taskyard",
                fieldPath=".pool",
            ),
        )
    )

    runtime: Runtime = Runtime.TASKYARD
    """What runs in the container: taskyard, or celery for a stock Celery image, which the operator drives by
    remote control.
    """

    app: Annotated[
        str,
        Field(min_length=1, max_length=253, pattern=r"^[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_.]*)?$"),
    ]
    """The application, as the worker's -A takes it, such as shop.tasks:app."""

    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")]
    """Container image that has the application in it."""

    queues: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=63)], ...],
        Field(min_length=1, max_length=32),
        Schema(
            {"x-kubernetes-list-type": "atomic"}
            | validations(
                cel(
                    "self.all(q, self.exists_one(r, r == q))",
                    "a queue is listed twice: list each TaskQueue once",
                )
            ),
        ),
    ]
    """Names of the TaskQueues in this namespace that the workers consume; all on one broker."""

    pool: PoolKind = PoolKind.PREFORK
    """How a worker runs several tasks at a time: in processes (prefork), threads, one event loop (asyncio),
    green threads (gevent, eventlet), or not at all (solo).
    """

    concurrency: Annotated[int, Field(ge=1, le=10000)] = 4
    """How many tasks one worker runs at a time; a solo worker runs one whatever is set here."""

    prefetch_multiplier: Annotated[int, Field(ge=0, le=10000)] | None = None
    """How many messages a worker takes ahead for each task that it can run at a time; by default the worker's
    own choice, which for Taskyard keeps long tasks free to go elsewhere. 0 means no limit.
    """

    max_tasks_per_child: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """prefork: replace a process after so many tasks."""

    max_memory_per_child: Memory | None = None
    """prefork: replace a process that has grown beyond this much memory, such as 512Mi, when its task is
    done.
    """

    time_limit: DurationInHours | None = None
    """A task that runs longer is killed; in hours, minutes and seconds, such as 1h30m."""

    soft_time_limit: DurationInHours | None = None
    """A task that runs longer gets a SoftTimeLimitExceeded, in which it can clean up."""

    log_level: LogLevel = LogLevel.INFO
    """The least severe log line that a worker writes."""

    extra_args: Annotated[tuple[Annotated[str, Field(max_length=1024)], ...], Field(max_length=64)] = ()
    """Further arguments for the worker command, after the operator's own."""

    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] | None = None
    """How many workers to run. While it is set, by hand, by kubectl scale, or by a HorizontalPodAutoscaler or
    KEDA through the scale subresource, the pool's own autoscaling rests; remove it to hand the number back.
    """

    autoscaling: AutoscalingSpec | None = None
    """How the number of workers follows the work while replicas is not set; left out, the defaults apply."""

    rollout: RolloutSpec = RolloutSpec()
    """How a new revision replaces the old one."""

    shutdown: ShutdownSpec = ShutdownSpec()
    """How a worker ends."""

    disruption_budget: DisruptionBudgetSpec = DisruptionBudgetSpec()
    """How many workers an eviction, such as a node drain, may take at a time."""

    pod_template: PodTemplate = PodTemplate()
    """A PodTemplateSpec that is merged strategically over the one that the operator makes."""

    @property
    def slots(self) -> int:
        """How many tasks one worker runs at a time."""
        return 1 if self.pool is PoolKind.SOLO else self.concurrency

    @property
    def manual(self) -> bool:
        """Whether the number of replicas is set from outside."""
        return self.replicas is not None

    @property
    def effective_autoscaling(self) -> AutoscalingSpec:
        """The autoscaling that applies while replicas is not set."""
        return self.autoscaling or AutoscalingSpec()

    @property
    def drain_timeout(self) -> int | None:
        """Seconds to wait for a drained worker; None is for ever."""
        return self.shutdown.drain_timeout or None


class SlotsStatus(ApiModel):
    """Places for tasks over all workers that consume."""

    total: Annotated[int, Field(ge=0)] = 0
    """How many tasks can run at a time."""

    busy: Annotated[int, Field(ge=0)] = 0
    """How many tasks run."""


class WorkerPoolStatus(ApiModel):
    """What the operator saw; built anew from the world, never read back."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The metadata.generation that this status is about."""

    summary: Annotated[str, Field(max_length=64)] | None = None
    """The reason of the most telling condition, for the STATUS column."""

    revision: Annotated[str, Field(max_length=63)] | None = None
    """The newest revision of the pod template, as in the pods' label taskyard.io/revision."""

    replicas: Annotated[int, Field(ge=0)] | None = None
    """Pods that count as replicas, without those that drain."""

    ready_replicas: Annotated[int, Field(ge=0)] | None = None
    """Replicas that consume."""

    updated_replicas: Annotated[int, Field(ge=0)] | None = None
    """Replicas of the newest revision."""

    busy_replicas: Annotated[int, Field(ge=0)] | None = None
    """Replicas that run at least one task."""

    draining_replicas: Annotated[int, Field(ge=0)] | None = None
    """Pods that take no more tasks and go when theirs are done."""

    desired_replicas: Annotated[int, Field(ge=0)] | None = None
    """The number of replicas that the pool is being brought to; with dryRun, the recommendation."""

    selector: Annotated[str, Field(max_length=512)] | None = None
    """Label selector of the replicas, for the scale subresource."""

    slots: SlotsStatus | None = None
    """Places for tasks over all workers that consume."""

    backlog: Annotated[int, Field(ge=0)] | None = None
    """Messages that wait in the pool's queues."""

    service_time: Elapsed | None = None
    """How long a task takes, a decaying mean."""

    arrival_rate: Annotated[float, Field(ge=0)] | None = None
    """Tasks that come in, per second."""

    predicted_latency: Elapsed | None = None
    """How long a task that is sent now is expected to wait."""

    last_scale_time: Timestamp | None = None
    """When the number of replicas was last changed."""

    last_scale_reason: Annotated[str, Field(max_length=1024)] | None = None
    """Why it was changed, with the numbers that decided."""

    conditions: Annotated[
        tuple[Condition, ...],
        Field(max_length=16),
        Schema({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = ()
    """Available, Progressing, ScalingActive, ScalingLimited and Degraded."""


class WorkerPool(ApiModel):
    """Workers of one application that consume some queues: Taskyard runs as many as the work asks for and
    never interrupts a task to change their number or their version.
    """

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                f"self.metadata.name.size() <= {MAX_POOL_NAME}",
                f"metadata.name has more than {MAX_POOL_NAME} characters: shorten it, as the names of the"
                " pool's Services and pods are made from it",
            ),
            cel(
                "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
                "metadata.name names a Service too: begin with a letter and use only a-z, 0-9 and -",
            ),
        )
    )

    api_version: str = API_VERSION
    """Group and version of the resource."""

    kind: str = WORKERPOOL_KIND
    """WorkerPool."""

    metadata: ObjectMeta
    """Kubernetes' own metadata."""

    spec: WorkerPoolSpec
    """What the pool should be."""

    status: WorkerPoolStatus = WorkerPoolStatus()
    """What the operator saw."""

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Self:
        """Read an object of the API server.

        Raises:
            pydantic.ValidationError: if it breaks the schema; ``describe_errors`` makes one line of it.
        """
        return cls.model_validate(body)
