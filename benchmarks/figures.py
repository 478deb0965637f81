"""From raw figures to medians: pure."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Metric:
    """A column: which row of measurements it is of, and the figure that one measurement gives for it."""

    key: str
    title: str
    row: str
    figure: Callable[[Raw], float | None]
    better: str = "high"
    digits: int = 0


@dataclass(frozen=True, slots=True)
class Median:
    """The median of some rounds, with the lowest and the highest."""

    middle: float
    low: float
    high: float
    count: int


def median(values: Iterable[float]) -> Median | None:
    """None of no values."""
    found = sorted(values)
    if not found:
        return None
    return Median(statistics.median(found), found[0], found[-1], len(found))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]


def _of(key: str, factor: float = 1.0) -> Callable[[Raw], float | None]:
    def figure(measurement: Raw) -> float | None:
        value = measurement.get(key)
        return None if value is None else float(value) * factor

    return figure


def _enqueue(measurement: Raw) -> float | None:
    return float(measurement["tasks"] / measurement["enqueue_seconds"])


def _trip(share: float) -> Callable[[Raw], float | None]:
    def figure(measurement: Raw) -> float | None:
        trips = measurement.get("trips")
        return percentile(trips, share) * 1000 if trips else None

    return figure


RUNNING = (
    Metric("drain", "drain, Redis, tasks/s", "drain", _of("rate")),
    Metric("results", "with results stored, tasks/s", "results", _of("rate")),
    Metric("rabbitmq", "drain, RabbitMQ, tasks/s", "rabbitmq", _of("rate")),
    Metric("cpu", "worker CPU, Redis, µs a task", "drain", _of("worker_us"), "low"),
    Metric("cpu-rabbitmq", "worker CPU, RabbitMQ, µs a task", "rabbitmq", _of("worker_us"), "low"),
    Metric("broker", "Redis CPU, µs a task", "drain", _of("broker_us"), "low"),
)
SENDING = (
    Metric("one", "enqueue one at a time, Redis, tasks/s", "drain", _enqueue),
    Metric("one-rabbitmq", "enqueue one at a time, RabbitMQ, tasks/s", "rabbitmq", _enqueue),
    Metric("many", "enqueue many at once, Redis, tasks/s", "many", _of("rate")),
)
WAITING = (
    Metric("p50", "round trip p50, ms", "idle", _trip(0.5), "low", 2),
    Metric("p99", "round trip p99, ms", "idle", _trip(0.99), "low", 2),
    Metric("first", "start to first task, s", "idle", _of("first_seconds"), "low", 2),
    Metric("idle", "memory idle, MB (PSS)", "idle", _of("pss_idle"), "low", 1),
    Metric("busy", "memory busy, MB (PSS)", "idle", _of("pss_busy"), "low", 1),
)
METRICS = RUNNING + SENDING + WAITING


def medians(raw: Raw) -> dict[str, dict[str, Median]]:
    """Metric key -> entrant -> median over the rounds; who could not be measured is not there."""
    found: dict[str, dict[str, Median]] = {}
    for metric in METRICS:
        values: dict[str, list[float]] = {}
        for each in raw["rounds"]:
            for measurement in each["measurements"]:
                if measurement["row"] != metric.row or "error" in measurement:
                    continue
                value = metric.figure(measurement)
                if value is not None:
                    values.setdefault(measurement["entrant"], []).append(value)
        found[metric.key] = {name: middle for name, given in values.items() if (middle := median(given))}
    return found


def winner(metric: Metric, found: Mapping[str, Median]) -> str | None:
    """Who has the best median."""
    if not found:
        return None
    best = max if metric.better == "high" else min
    return best(found, key=lambda name: found[name].middle)


def errors(raw: Raw) -> list[str]:
    """What could not be measured, one line each."""
    found = [measurement for each in raw["rounds"] for measurement in each["measurements"]]
    failed = [each for each in [*found, *raw.get("loss", [])] if "error" in each]
    lines = [f"{each['row']}, {each['entrant']}: {each['error'].splitlines()[0]}" for each in failed]
    return list(dict.fromkeys(lines))
