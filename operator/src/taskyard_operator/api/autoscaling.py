"""The part of a WorkerPool that says how its number of replicas follows the work."""

from typing import Annotated

from pydantic import ConfigDict, Field

from .durations import Duration, PositiveDuration
from .model import ApiModel, cel, validations

MAX_REPLICAS = 5000


class ScaleDownSpec(ApiModel):
    """How replicas are taken away; a busy worker is never stopped for it."""

    stabilization: Duration = 60
    """The least time for which fewer replicas must have been enough before any is taken away. The autoscaler
    waits longer where workers start slowly.
    """


class ScaleUpSpec(ApiModel):
    """How replicas are added."""

    max_step: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = 100
    """The most replicas that are added in one step; steps follow each other within seconds."""


class ScheduleSpec(ApiModel):
    """A time in which more replicas are kept than the work asks for."""

    cron: Annotated[
        str,
        Field(
            min_length=9,
            max_length=100,
            pattern=r"^[0-9A-Za-z*/,-]+( +[0-9A-Za-z*/,-]+){4}$",
        ),
    ]
    """When the time begins: minute, hour, day of month, month, day of week, such as 0 8 * * 1-5."""

    timezone: Annotated[
        str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$")
    ] = "UTC"
    """IANA time zone in which cron is read, such as Asia/Seoul; daylight saving is followed."""

    duration: PositiveDuration
    """How long the time lasts."""

    min_replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)]
    """The fewest replicas in that time; where times overlap the highest counts."""


class FallbackSpec(ApiModel):
    """What to do when the broker cannot be read."""

    after_failures: Annotated[int, Field(ge=1, le=1000)] = 5
    """How many polls in a row must fail before the fallback applies; until then the number of replicas is
    held.
    """

    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)]
    """The number of replicas to have at least; more that are running stay."""


class AutoscalingSpec(ApiModel):
    """How the number of replicas follows the work."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "self.minReplicas <= self.maxReplicas",
                "minReplicas is more than maxReplicas: lower minReplicas or raise maxReplicas",
                fieldPath=".minReplicas",
            ),
            cel(
                "!has(self.fallback) || self.fallback.replicas <= self.maxReplicas",
                "fallback.replicas is more than maxReplicas: lower it or raise maxReplicas",
                fieldPath=".fallback",
            ),
            cel(
                "!has(self.schedules) || self.schedules.all(s, s.minReplicas <= self.maxReplicas)",
                "a schedule's minReplicas is more than maxReplicas: lower it or raise maxReplicas",
                fieldPath=".schedules",
            ),
        )
    )

    min_replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 0
    """The fewest replicas. With 0 an idle pool costs nothing and the first message starts it."""

    max_replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = 10
    """The most replicas."""

    start_within: PositiveDuration = 10
    """The one knob: a task should start within this time of being sent. Shorter costs more idle replicas; a
    pool at zero cannot beat the time that a pod needs to start.
    """

    backlog_per_replica: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Plain depth instead of startWithin: one replica for each so many messages that wait or run. Leave it
    out and the autoscaler measures how long tasks take.
    """

    scale_down: ScaleDownSpec = ScaleDownSpec()
    """How replicas are taken away."""

    scale_up: ScaleUpSpec = ScaleUpSpec()
    """How replicas are added."""

    dry_run: bool = False
    """Only write the recommendation to status.desiredReplicas and change nothing."""

    schedules: Annotated[tuple[ScheduleSpec, ...], Field(max_length=32)] = ()
    """Times in which more replicas are kept than the work asks for."""

    fallback: FallbackSpec | None = None
    """What to do when the broker cannot be read; without it the number of replicas is held, and never
    lowered.
    """

    paused: bool = False
    """Hold the number of replicas as it is."""
