"""The scaler: what it asks for, what it never does."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from taskyard_operator.core.demand import Demand, QueueReading, WorkerTotals
from taskyard_operator.core.scaler import Inputs, Memory, Policy, Recommendation, Rule, recommend

NOW = 1_700_000_000.0
#: A pool whose tasks take ten seconds, as a hundred of them have shown.
SETTLED = {"pod": WorkerTotals(finished=100, busy_seconds=1000.0, uptime=600.0)}


def reading(ready: int = 0, in_flight: int | None = 0, at: float = NOW) -> QueueReading:
    return QueueReading(ready=ready, in_flight=in_flight, at=at)


def inputs(**fields: object) -> Inputs:
    base = Inputs(now=NOW, queue=reading(), current=0)
    return replace(base, **fields)  # type: ignore[arg-type]


def watched(policy: Policy, given: Inputs, seconds: float, *, step: float = 5.0) -> Recommendation:
    """The recommendation after the same has been seen for some time."""
    memory = Memory()
    recommendation, memory = recommend(policy, given, memory)
    for index in range(1, math.ceil(seconds / step) + 1):
        now = given.now + index * step
        queue = replace(given.queue, at=now) if given.queue else None
        recommendation, memory = recommend(policy, replace(given, now=now, queue=queue), memory)
    return recommendation


def test_the_first_message_starts_as_many_as_are_needed_at_once() -> None:
    policy = Policy(max_replicas=50)
    one, _ = recommend(policy, inputs(queue=reading(1), slots_per_pod=4), Memory())
    assert (one.replicas, one.rule) == (1, Rule.DEMAND)
    # Service time unknown, so taken as D = 10 s: half a slot for each message.
    many, _ = recommend(policy, inputs(queue=reading(80), slots_per_pod=4), Memory())
    assert many.replicas == 10


def test_long_tasks_get_a_slot_each_and_short_ones_a_share() -> None:
    policy = Policy(max_replicas=1000)
    long, _ = recommend(policy, inputs(queue=reading(40), service_time_hint=600.0), Memory())
    assert long.replicas == 40
    short, _ = recommend(policy, inputs(queue=reading(4000), service_time_hint=0.01), Memory())
    assert short.replicas == 4


def test_what_runs_counts_and_needs_no_ready_message() -> None:
    policy = Policy(max_replicas=50)
    given = inputs(
        queue=reading(0, 12), current=6, consuming=6, slots_per_pod=2, ready_slots=12, held_active=12
    )
    busy = watched(policy, replace(given, service_time_hint=3600.0), 400.0)
    assert busy.replicas == 6


def test_messages_that_a_silent_worker_holds_count() -> None:
    policy = Policy(max_replicas=50)
    silent = inputs(queue=reading(0, 12), current=6, slots_per_pod=2, silent=6, service_time_hint=3600.0)
    assert watched(policy, silent, 400.0).replicas == 6
    unknown = replace(silent, queue=reading(0, None))
    assert watched(policy, unknown, 400.0).replicas == 6


def test_what_draining_pods_hold_needs_no_active_slot() -> None:
    policy = Policy(max_replicas=50)
    given = inputs(queue=reading(0, 8), current=4, consuming=4, held_draining=8, service_time_hint=60.0)
    assert watched(policy, given, 100.0).rule is Rule.IDLE


def test_zero_needs_the_whole_window() -> None:
    policy = Policy(stabilization=60.0)
    given = inputs(current=3, consuming=3, workers=SETTLED)
    assert watched(policy, given, 55.0).replicas == 3
    idle = watched(policy, given, 65.0)
    assert (idle.replicas, idle.rule) == (0, Rule.IDLE)


def test_a_trickle_that_no_poll_ever_sees_is_not_idle() -> None:
    policy = Policy(stabilization=30.0, min_replicas=0)
    memory = Memory()
    recommendation = None
    for index in range(60):
        totals = {"pod": WorkerTotals(finished=index * 2, busy_seconds=index * 0.01, uptime=600.0)}
        now = NOW + index * 5.0
        recommendation, memory = recommend(
            policy, inputs(now=now, queue=reading(at=now), current=1, consuming=1, workers=totals), memory
        )
    assert recommendation is not None
    assert recommendation.replicas == 1


def test_down_follows_the_highest_need_of_the_window() -> None:
    policy = Policy(max_replicas=100, stabilization=60.0)
    memory = Memory()
    replicas = []
    for index in range(60):
        now = NOW + index * 5.0
        ready = 40 if index < 20 else 4
        recommendation, memory = recommend(
            policy,
            inputs(now=now, queue=reading(ready, 0, now), current=40, consuming=40, service_time_hint=600.0),
            memory,
        )
        replicas.append(recommendation.replicas)
    assert all(count >= 40 for count in replicas[: 20 + 11])
    # The jump between the polls was no work done: the rate has not moved, and four slots are enough.
    assert replicas[-1] < 10


def test_a_steady_stream_gets_what_little_says() -> None:
    """Twenty tasks a second of two seconds: forty slots, and some headroom for the variation."""
    policy = Policy(max_replicas=1000, start_within=30.0)
    memory = Memory()
    recommendation = None
    finished = 0
    for index in range(600):
        now = NOW + index
        finished += 20
        totals = {
            "pod": WorkerTotals(finished=finished, busy_seconds=finished * 2.0, uptime=float(index + 1))
        }
        recommendation, memory = recommend(
            policy,
            inputs(
                now=now,
                queue=reading(0, 40, now),
                current=40,
                consuming=40,
                held_active=40,
                workers=totals,
                cold_starts={"pod": 10.0},
            ),
            memory,
        )
    assert recommendation is not None
    assert recommendation.service_time is not None
    assert abs(recommendation.service_time - 2.0) < 0.05
    assert recommendation.arrival_rate is not None
    assert abs(recommendation.arrival_rate - 20.0) < 1.0
    assert 39 <= recommendation.needed <= 44


def test_limits_have_names() -> None:
    policy = Policy(min_replicas=2, max_replicas=5)
    low, _ = recommend(policy, inputs(), Memory())
    assert (low.replicas, low.rule) == (2, Rule.MIN)
    high, _ = recommend(policy, inputs(queue=reading(1000)), Memory())
    assert (high.replicas, high.rule) == (5, Rule.MAX)
    step, _ = recommend(Policy(max_replicas=500, max_step=10), inputs(queue=reading(1000)), Memory())
    assert (step.replicas, step.rule) == (10, Rule.MAX_STEP)
    full, _ = recommend(policy, inputs(queue=reading(1000), current=3, saturated=True), Memory())
    assert (full.replicas, full.rule) == (3, Rule.SATURATED)


def test_a_lowered_maximum_needs_no_window() -> None:
    given = inputs(queue=reading(1000), current=9, consuming=9)
    lowered, _ = recommend(Policy(max_replicas=4), given, Memory())
    assert lowered.replicas == 4


def test_backlog_per_replica_is_plain_depth() -> None:
    policy = Policy(max_replicas=50, start_within=None, backlog_per_replica=20)
    given = inputs(queue=reading(90, 15), held_active=15, slots_per_pod=4, service_time_hint=500.0)
    depth, _ = recommend(policy, given, Memory())
    assert (depth.replicas, depth.rule) == (6, Rule.BACKLOG)


def test_the_fallback_only_raises() -> None:
    policy = Policy(max_replicas=10, fallback_after=3, fallback_replicas=4)
    for current, failures, replicas in ((0, 2, 0), (0, 3, 4), (2, 5, 4), (7, 5, 7)):
        answer, _ = recommend(policy, inputs(queue=None, current=current, failures=failures), Memory())
        assert answer.replicas == replicas
        assert answer.rule is (Rule.FALLBACK if failures >= 3 else Rule.STALE)


def test_a_gap_in_the_figures_starts_the_window_again() -> None:
    policy = Policy(stabilization=30.0)
    memory = Memory()
    for index in range(5):
        now = NOW + index * 5.0
        _, memory = recommend(
            policy, inputs(now=now, queue=reading(at=now), current=3, workers=SETTLED), memory
        )
    later = NOW + 200.0
    answer, _ = recommend(
        policy, inputs(now=later, queue=reading(at=later), current=3, workers=SETTLED), memory
    )
    assert (answer.replicas, answer.rule) == (3, Rule.OBSERVING)


def test_the_service_time_is_known_from_the_workers_at_once() -> None:
    answer, _ = recommend(Policy(), inputs(workers=SETTLED, current=1), Memory())
    assert answer.service_time is not None
    assert abs(answer.service_time - 10.0) < 0.2
    unknown, _ = recommend(Policy(), inputs(), Memory())
    assert unknown.service_time is None


def test_running_tasks_tell_that_they_are_long_before_any_ended() -> None:
    running = {"pod": WorkerTotals(finished=0, busy_seconds=1200.0, uptime=300.0, running=4)}
    answer, memory = recommend(
        Policy(max_replicas=50), inputs(queue=reading(20, 4), workers=running), Memory()
    )
    assert memory.demand.service_time(10.0) >= 300.0
    assert answer.needed >= 23


def test_a_restarted_worker_does_not_take_back_what_it_finished() -> None:
    memory = Memory()
    _, memory = recommend(Policy(), inputs(workers=SETTLED), memory)
    again = {"pod": WorkerTotals(finished=1, busy_seconds=10.0, uptime=12.0)}
    _, memory = recommend(Policy(), inputs(now=NOW + 5, queue=reading(at=NOW + 5), workers=again), memory)
    assert abs(memory.demand.service_time(1.0) - 10.0) < 0.5


def test_a_purge_is_no_negative_rate() -> None:
    memory = Memory()
    _, memory = recommend(Policy(), inputs(queue=reading(100_000)), memory)
    for index in range(1, 30):
        now = NOW + index
        answer, memory = recommend(Policy(), inputs(now=now, queue=reading(0, 0, now)), memory)
        assert answer.arrival_rate == 0.0
    now += 1
    answer, memory = recommend(Policy(), inputs(now=now, queue=reading(50, 0, now)), memory)
    assert answer.arrival_rate is not None
    assert answer.arrival_rate > 0


def test_predicted_latency_is_zero_with_a_free_slot_and_a_start_at_zero() -> None:
    free, _ = recommend(Policy(), inputs(current=1, consuming=1, ready_slots=4, held_active=1), Memory())
    assert free.predicted_latency == 0.0
    cold, _ = recommend(Policy(), inputs(), Memory())
    assert cold.predicted_latency == Demand().start_seconds
    full = inputs(queue=reading(7, 4), current=1, consuming=1, ready_slots=4, held_active=4, workers=SETTLED)
    wait, _ = recommend(Policy(), full, Memory())
    assert wait.predicted_latency is not None
    assert abs(wait.predicted_latency - 20.0) < 0.5


@given(
    current=st.integers(0, 20),
    ready=st.integers(0, 10_000),
    held=st.integers(0, 40),
    low=st.integers(0, 5),
    high=st.integers(5, 20),
    failures=st.integers(0, 10),
    fresh=st.booleans(),
    hint=st.one_of(st.none(), st.floats(0.001, 10_000)),
    seconds=st.integers(0, 200),
)
def test_within_the_limits_whatever_is_seen(
    current: int,
    ready: int,
    held: int,
    low: int,
    high: int,
    failures: int,
    fresh: bool,
    hint: float | None,
    seconds: int,
) -> None:
    policy = Policy(min_replicas=low, max_replicas=high, fallback_after=3, fallback_replicas=high)
    given = inputs(
        queue=reading(ready, held) if fresh else None,
        current=current,
        consuming=current,
        held_active=held,
        slots_per_pod=2,
        failures=failures,
        service_time_hint=hint,
    )
    answer = watched(policy, given, float(seconds))
    assert answer.replicas >= low
    assert answer.replicas <= max(high, current)
    if not fresh:
        assert answer.replicas >= current  # unknown is not zero
    elif ready > 0:
        assert answer.replicas > 0
