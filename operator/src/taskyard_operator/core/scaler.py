"""How many replicas a pool needs: one knob in seconds, and a value of memory passed in and out.

With n slots of which U are busy, (n - U) + n*D/S tasks start within D seconds, where S is the service time.
Asking that everything queued (Q), and everything that arrives meanwhile (lam*D), starts within D gives

    n = (Q + U + lam*D) * S / (S + D)

For tasks much shorter than D this is the arrival rate's load plus the time to work off the backlog; for
much longer ones it is a slot per message; in a steady state it is Little's law, n = lam*S. D follows from
the wait that is allowed, W: a pod ordered now helps after its cold start C, so D = W - C, but never less
than C (pods would cost more than they give) nor than W/3.

Up is at once. Down follows the highest need within a window, and never while that window has not been seen
in full (so a restart of the operator changes nothing). Unknown is not zero: without a fresh reading the
count is held.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from taskyard_operator.core.demand import (
    LONGEST_GAP,
    TRUSTED_AFTER,
    Demand,
    QueueReading,
    WorkerTotals,
    learn,
)

LONGEST_WINDOW = 300.0
"""Seconds: a slow start lengthens the window before a step down by at most this."""
_TREND_SECONDS = 30.0


class Rule(StrEnum):
    """Which rule settled the number of replicas. The values are reasons in conditions: a part of the API."""

    DEMAND = "Demand"
    BACKLOG = "BacklogPerReplica"
    MIN = "AtMin"
    MAX = "AtMax"
    MAX_STEP = "MaxStep"
    SATURATED = "Unschedulable"
    STABILIZING = "Stabilizing"
    OBSERVING = "Observing"
    IDLE = "Idle"
    STALE = "MetricsStale"
    FALLBACK = "Fallback"


@dataclass(frozen=True, slots=True)
class Policy:
    """A pool's autoscaling settings; times in seconds.

    `start_within` None means that `backlog_per_replica` alone decides; with both, the latter serves until the
    service time is known.
    """

    min_replicas: int = 0
    max_replicas: int = 10
    start_within: float | None = 10.0
    backlog_per_replica: float | None = None
    stabilization: float = 60.0
    max_step: int = 100
    fallback_after: int = 5
    fallback_replicas: int | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one pass saw. Counts of messages; times in seconds.

    `held_active` are messages held by pods that take new ones, `held_draining` by those that do not any
    more, `silent` the active pods that run but did not answer. `current` is what was asked for last,
    `consuming` the pods that take messages. `saturated`: pods have waited long for a place on a node.
    """

    now: float
    queue: QueueReading | None
    current: int
    consuming: int = 0
    slots_per_pod: int = 1
    ready_slots: int = 0
    held_active: int = 0
    held_draining: int = 0
    silent: int = 0
    failures: int = 0
    workers: Mapping[str, WorkerTotals] = field(default_factory=dict)
    cold_starts: Mapping[str, float] = field(default_factory=dict)
    service_time_hint: float | None = None
    saturated: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """What the scaler carries from pass to pass; all of it may be lost without a wrong step."""

    demand: Demand = field(default_factory=Demand)
    needs: tuple[
        tuple[float, int], ...
    ] = ()  # (when, replicas needed), only those that can still be the highest
    observed_since: float | None = None
    idle_since: float | None = None
    read_at: float | None = None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """How many replicas, which rule bound it, and the figures behind it.

    `predicted_latency` is the wait in seconds of a message sent now; None if it cannot be said.
    """

    replicas: int
    rule: Rule
    message: str
    needed: int
    slots_needed: float
    service_time: float | None
    arrival_rate: float | None
    predicted_latency: float | None
    cold_start: float


def recommend(policy: Policy, inputs: Inputs, memory: Memory) -> tuple[Recommendation, Memory]:
    """Decide for one pass. Pure: the same arguments give the same answer."""
    demand = learn(
        memory.demand,
        now=inputs.now,
        queue=inputs.queue,
        held=inputs.held_active + inputs.held_draining,
        workers=inputs.workers,
        cold_starts=inputs.cold_starts,
        hint=inputs.service_time_hint,
    )
    memory = replace(memory, demand=demand)
    if inputs.queue is None:
        return _without_reading(policy, inputs, memory)
    if memory.read_at is not None and inputs.now - memory.read_at > LONGEST_GAP:
        # What happened in the gap is not known, so the window before a step down starts again.
        memory = Memory(demand)
    slots, lam, service = _slots_needed(policy, inputs, demand, inputs.queue)
    needed = math.ceil(round(slots / max(inputs.slots_per_pod, 1), 6))
    window = max(policy.stabilization, min(3.0 * demand.start_seconds, LONGEST_WINDOW))
    idle_since = None
    if _idle(inputs, demand, inputs.queue):
        idle_since = inputs.now if memory.idle_since is None else memory.idle_since
    idle = idle_since is not None and inputs.now - idle_since >= window
    if idle or (inputs.current == 0 and inputs.queue.ready == 0):
        needed = 0  # averages never reach zero; and only a message wakes an empty pool
    wanted = _clamp(needed, policy.min_replicas, policy.max_replicas)
    memory = replace(
        memory,
        needs=_remember(memory.needs, inputs.now, needed, window),
        read_at=inputs.now,
        observed_since=inputs.now if memory.observed_since is None else memory.observed_since,
        idle_since=idle_since,
    )
    if wanted > inputs.current:
        replicas, rule = _upward(policy, inputs, needed, wanted)
    else:
        replicas, rule = _downward(policy, inputs, memory, needed, wanted, window, idle=idle)
    if rule is Rule.DEMAND and policy.backlog_per_replica is not None and not _timed(policy, demand):
        rule = Rule.BACKLOG
    latency = _latency(inputs, inputs.queue, demand, service)
    recommendation = Recommendation(
        replicas=replicas,
        rule=rule,
        message=_message(inputs, inputs.queue, rule, needed, replicas, slots, lam, service),
        needed=needed,
        slots_needed=slots,
        service_time=service if demand.knows_service_time else None,
        arrival_rate=lam,
        predicted_latency=latency,
        cold_start=demand.start_seconds,
    )
    return recommendation, memory


def _without_reading(policy: Policy, inputs: Inputs, memory: Memory) -> tuple[Recommendation, Memory]:
    replicas, rule = max(inputs.current, policy.min_replicas), Rule.STALE
    message = f"no fresh figures from the broker: holding {replicas} replicas"
    if policy.fallback_replicas is not None and inputs.failures >= policy.fallback_after:
        fallback = min(policy.fallback_replicas, policy.max_replicas)
        rule = Rule.FALLBACK
        message = (
            f"the broker could not be read {inputs.failures} times in a row: at least {fallback} replicas"
        )
        replicas = max(replicas, fallback)
    demand = memory.demand
    recommendation = Recommendation(
        replicas=replicas,
        rule=rule,
        message=message,
        needed=replicas,
        slots_needed=0.0,
        service_time=demand.service_time(0.0) if demand.knows_service_time else None,
        arrival_rate=None,
        predicted_latency=None,
        cold_start=demand.start_seconds,
    )
    return recommendation, memory


def in_flight(inputs: Inputs, queue: QueueReading) -> int:
    """Messages that occupy, or will again occupy, the slots of active pods.

    The workers know what they hold; the broker's count is the cross-check that finds what a lost or silent
    worker holds. What draining pods hold needs no slot of an active one.
    """
    held = inputs.held_active
    if queue.in_flight is not None:
        return max(held, queue.in_flight - inputs.held_draining)
    return held + inputs.silent * inputs.slots_per_pod


def _timed(policy: Policy, demand: Demand) -> bool:
    return policy.start_within is not None and (
        policy.backlog_per_replica is None or demand.knows_service_time
    )


def _slots_needed(
    policy: Policy, inputs: Inputs, demand: Demand, queue: QueueReading
) -> tuple[float, float, float]:
    """Slots, the arrival rate they are for (1/s), and the service time (s) assumed."""
    busy = in_flight(inputs, queue)
    cold = demand.start_seconds
    allowed = policy.start_within if policy.start_within is not None else cold
    horizon = max(allowed - cold, cold, allowed / 3.0, 0.1)
    service = max(demand.service_time(horizon), 1e-4)
    lam = demand.arrival_rate(min(cold, _TREND_SECONDS))
    if not _timed(policy, demand) and policy.backlog_per_replica is not None:
        pods = (queue.ready + busy) / policy.backlog_per_replica
        return pods * inputs.slots_per_pod, lam, service
    slots = (queue.ready + busy + lam * horizon) * service / (service + horizon)
    # Headroom is for the variation of a stream; a backlog has none.
    slots += min(1.0, service / horizon) * math.sqrt(min(slots, lam * service))
    if queue.ready > 0 or busy > 0:
        slots = max(slots, 1e-3)
    return slots, lam, service


def _idle(inputs: Inputs, demand: Demand, queue: QueueReading) -> bool:
    return queue.ready == 0 and in_flight(inputs, queue) == 0 and inputs.silent == 0 and demand.arrived < 0.5


def _remember(
    needs: tuple[tuple[float, int], ...], now: float, needed: int, window: float
) -> tuple[tuple[float, int], ...]:
    """Append, dropping what is out of the window and what a later, higher need makes irrelevant."""
    kept = [(at, value) for at, value in needs if at > now - window and value > needed]
    return (*kept, (now, needed))


def _upward(policy: Policy, inputs: Inputs, needed: int, wanted: int) -> tuple[int, Rule]:
    if inputs.current < policy.min_replicas and needed <= policy.min_replicas:
        return wanted, Rule.MIN
    if inputs.saturated:
        return max(inputs.current, policy.min_replicas), Rule.SATURATED
    # At most so many pods starting at once.
    limit = max(inputs.current, inputs.consuming + policy.max_step, policy.min_replicas)
    if wanted > limit:
        return limit, Rule.MAX_STEP
    return wanted, Rule.MAX if needed > policy.max_replicas else Rule.DEMAND


def _downward(
    policy: Policy, inputs: Inputs, memory: Memory, needed: int, wanted: int, window: float, *, idle: bool
) -> tuple[int, Rule]:
    # Above the highest number that is allowed: somebody lowered it, and that needs no window.
    current = min(inputs.current, policy.max_replicas)
    if wanted >= current:
        if needed > policy.max_replicas:
            return current, Rule.MAX
        return current, Rule.MIN if needed < policy.min_replicas else Rule.DEMAND
    assert memory.observed_since is not None
    observed = inputs.now - memory.observed_since
    if idle and observed >= window:
        return policy.min_replicas, Rule.IDLE
    if observed < max(window, TRUSTED_AFTER):
        return current, Rule.OBSERVING  # the rate is not known well enough yet to say what can be spared
    highest = max(value for _, value in memory.needs)
    target = _clamp(max(highest, 1), policy.min_replicas, policy.max_replicas)
    if target >= current:
        return current, Rule.STABILIZING
    return target, Rule.MIN if highest < policy.min_replicas else Rule.DEMAND


def _latency(inputs: Inputs, queue: QueueReading, demand: Demand, service: float) -> float | None:
    busy = min(in_flight(inputs, queue), inputs.ready_slots)
    if inputs.ready_slots > 0:
        free = inputs.ready_slots - busy
        if queue.ready < free:
            return 0.0
        return (queue.ready - free + 1) * service / inputs.ready_slots
    if inputs.current > 0:
        return demand.start_seconds + queue.ready * service / (inputs.current * max(inputs.slots_per_pod, 1))
    return demand.start_seconds if queue.ready == 0 else None


def _message(
    inputs: Inputs,
    queue: QueueReading,
    rule: Rule,
    needed: int,
    replicas: int,
    slots: float,
    lam: float,
    service: float,
) -> str:
    return (
        f"{replicas} replicas ({rule.value}; {needed} needed for {slots:.1f} slots): {queue.ready} ready, "
        f"{in_flight(inputs, queue)} in flight, {lam:.2g}/s arriving, {service:.2g} s each"
    )


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))
