"""What the scaler learns of a pool's load over time: arrival rate, service time, cold start.

Nothing here is asked of a broker that the queue poll does not already give: the arrival rate is the growth of
(ready + in flight + finished), the service time is what the workers count themselves (busy seconds over tasks
finished), so an operator that has just started knows the service time at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

FAST_SECONDS = 15.0
SLOW_SECONDS = 120.0
TRUSTED_AFTER = 30.0
"""Seconds: rates are shrunk towards zero until watched so long, so that a start makes no wrong step."""

LONGEST_GAP = 15.0
"""Seconds without a reading after which what was watched before no longer counts."""

_MEMORY_SECONDS = 420.0 / math.log(2.0)  # half-life of the service time's evidence: 7 minutes
_PRIOR_WEIGHT = 1.0  # the prior counts as one finished task
_SETTLED_TASKS = 10.0  # evidence that replaces the prior
DEFAULT_COLD_START = 10.0
_LONGEST_COLD_START = 600.0
_COLD_START_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class WorkerTotals:
    """One worker's counters since its start, with what runs now; seconds of execution and of uptime."""

    finished: int
    busy_seconds: float
    uptime: float
    running: int = 0


@dataclass(frozen=True, slots=True)
class QueueReading:
    """All queues of a pool in one fresh poll; `at` in Unix seconds, `in_flight` None if not known."""

    ready: int
    in_flight: int | None
    at: float
    publish_rate: float | None = None
    oldest_age: float | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """The estimates, and what is needed to carry them on. A value: `learn` returns the next one."""

    fast: float = 0.0
    slow: float = 0.0
    watched: float = 0.0  # seconds of rates seen without a gap
    at: float | None = None  # the latest poll that was counted
    level: int = 0  # ready + in flight at that poll
    debt: float = 0.0  # messages that the counters ran ahead by, to be taken off the next arrivals
    arrived: float = 0.0  # messages in the latest interval
    finished_weight: float = 0.0
    busy_weight: float = 0.0
    running: int = 0  # tasks executing now
    prior: float | None = None  # seconds; what is believed of the service time without evidence
    learned_at: float | None = None
    workers: Mapping[str, WorkerTotals] = field(default_factory=dict)
    finished_between: int = 0  # finished since the latest counted poll
    cold_start: float | None = None
    cold_started: frozenset[str] = frozenset()

    def service_time(self, default: float) -> float:
        """Seconds that one task occupies a slot; `default` while there is neither evidence nor a prior."""
        prior = default if self.prior is None else self.prior
        if self.finished_weight < 0.5:
            # Only tasks that still run: what they have used so far is the least it can be.
            return max(prior, self.busy_weight / max(self.running, 1))
        return (self.busy_weight + _PRIOR_WEIGHT * prior) / (self.finished_weight + _PRIOR_WEIGHT)

    @property
    def knows_service_time(self) -> bool:
        """Whether the service time rests on finished tasks (now, or before the pool was empty)."""
        return self.prior is not None or self.finished_weight >= 0.5

    @property
    def start_seconds(self) -> float:
        """Seconds from a pod's creation until it consumes."""
        return DEFAULT_COLD_START if self.cold_start is None else self.cold_start

    def arrival_rate(self, lookahead: float) -> float:
        """Messages per second to prepare for; `lookahead` is in seconds.

        The slow average, unless the fast one is above it by more than two standard deviations of a Poisson
        process: then the fast one and its growth until a pod ordered now would consume.
        """
        fast, slow = (
            _unbiased(self.fast, FAST_SECONDS, self.watched),
            _unbiased(self.slow, SLOW_SECONDS, self.watched),
        )
        rise = fast - slow
        noise = 2.0 * math.sqrt(max(slow, 1.0 / SLOW_SECONDS) / FAST_SECONDS)
        if self.watched < TRUSTED_AFTER or rise <= noise:
            return max(0.0, slow)
        growth = rise / (
            SLOW_SECONDS - FAST_SECONDS
        )  # an average over t seconds lags a ramp of slope k by k*t
        return max(0.0, fast + growth * lookahead)


def _unbiased(average: float, span: float, watched: float) -> float:
    """Correct an average that began at zero, as if at least `TRUSTED_AFTER` seconds had been seen."""
    return average / (1.0 - math.exp(-max(watched, TRUSTED_AFTER) / span))


def learn(
    demand: Demand,
    *,
    now: float,
    queue: QueueReading | None,
    held: int,
    workers: Mapping[str, WorkerTotals],
    cold_starts: Mapping[str, float],
    hint: float | None,
) -> Demand:
    """Take in one pass. `held`: messages that workers hold; `hint`: an earlier service time, in seconds."""
    demand = _learn_service_time(demand, now, workers, hint)
    demand = _learn_cold_start(demand, cold_starts)
    return demand if queue is None else _learn_rates(demand, queue, held)


def _learn_rates(demand: Demand, queue: QueueReading, held: int) -> Demand:
    level = queue.ready + (held if queue.in_flight is None else queue.in_flight)
    if demand.at is None:
        return replace(demand, at=queue.at, level=level, finished_between=0, arrived=0.0)
    seconds = queue.at - demand.at
    if seconds < 0.2:
        return demand
    if seconds > LONGEST_GAP:
        # What arrived meanwhile is not known well enough: the rates start again.
        demand = replace(demand, fast=0.0, slow=0.0, watched=0.0, debt=0.0)
        return replace(demand, at=queue.at, level=level, arrived=0.0, finished_between=0)
    if queue.publish_rate is not None:
        arrived, debt = queue.publish_rate * seconds, 0.0
    else:
        arrived = level - demand.level + demand.finished_between - demand.debt
        # The poll and the workers' counters are not of the same instant: a small minus is a plus that came
        # early. A large one is a purge, and no reason to believe in fewer messages later.
        debt = min(-arrived, float(max(held, 8))) if arrived < 0 else 0.0
        arrived = max(arrived, 0.0)
    rate = arrived / seconds
    return replace(
        demand,
        fast=demand.fast + (1.0 - math.exp(-seconds / FAST_SECONDS)) * (rate - demand.fast),
        slow=demand.slow + (1.0 - math.exp(-seconds / SLOW_SECONDS)) * (rate - demand.slow),
        watched=demand.watched + seconds,
        at=queue.at,
        level=level,
        debt=debt,
        arrived=arrived,
        finished_between=0,
    )


def _learn_service_time(
    demand: Demand, now: float, workers: Mapping[str, WorkerTotals], hint: float | None
) -> Demand:
    prior = demand.prior if demand.learned_at is not None else hint
    finished, busy = 0.0, 0.0
    fresh = 0
    for uid, totals in workers.items():
        before = demand.workers.get(uid)
        if (
            before is not None
            and before.finished <= totals.finished
            and before.busy_seconds <= totals.busy_seconds
        ):
            finished += totals.finished - before.finished
            busy += totals.busy_seconds - before.busy_seconds
            fresh += totals.finished - before.finished
        else:
            # New here (or restarted): its history counts as much as if it had been watched all the time.
            share = min(1.0, _MEMORY_SECONDS / max(totals.uptime, 1.0))
            finished += totals.finished * share
            busy += totals.busy_seconds * share
            if demand.learned_at is not None:
                fresh += totals.finished
    decay = (
        1.0 if demand.learned_at is None else math.exp(-max(0.0, now - demand.learned_at) / _MEMORY_SECONDS)
    )
    finished += demand.finished_weight * decay
    busy += demand.busy_weight * decay
    if finished >= _SETTLED_TASKS:
        prior = busy / finished
    # A pod that did not answer this once is not new the next time.
    known = {uid: totals for uid, totals in demand.workers.items() if uid not in workers}
    remembered = dict(list(known.items())[-256:])
    return replace(
        demand,
        prior=prior,
        learned_at=now,
        finished_weight=finished,
        busy_weight=busy,
        running=sum(totals.running for totals in workers.values()),
        workers={**remembered, **workers},
        finished_between=demand.finished_between + fresh,
    )


def _learn_cold_start(demand: Demand, cold_starts: Mapping[str, float]) -> Demand:
    new = {uid: seconds for uid, seconds in cold_starts.items() if uid not in demand.cold_started}
    if not new:
        return demand
    mean = min(sum(new.values()) / len(new), _LONGEST_COLD_START)
    if demand.cold_start is not None:
        weight = 1.0 - (1.0 - _COLD_START_WEIGHT) ** len(new)
        mean = demand.cold_start + weight * (mean - demand.cold_start)
    seen = frozenset(cold_starts) | frozenset(list(demand.cold_started)[-1024:])
    return replace(demand, cold_start=mean, cold_started=seen)
