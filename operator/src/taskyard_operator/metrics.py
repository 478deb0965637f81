"""What the operator counts, and its rendering in the Prometheus text format (version 0.0.4).

The instruments are module-level: whoever sees something counts it here, and the HTTP server renders them
all. Everything runs on one event loop, so there are no locks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Protocol

_Labels = tuple[str, ...]


class Instrument(Protocol):
    """Something that renders itself as lines of the exposition format."""

    def lines(self) -> Iterator[str]:
        """Yield HELP, TYPE and sample lines, without line ends."""
        ...


class Counter:
    """A number that only grows, one per combination of label values."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name, self.help, self.labels = name, help, tuple(labels)
        self._values: dict[_Labels, float] = {}

    def inc(self, *labels: str, by: float = 1.0) -> None:
        """Add ``by`` to the series with these label values, given in the order of the declaration."""
        _check(self.labels, labels)
        self._values[labels] = self._values.get(labels, 0.0) + by

    def value(self, *labels: str) -> float:
        """The current number of one series; 0 if it was never touched."""
        return self._values.get(labels, 0.0)

    def remove(self, *labels: str) -> None:
        """Drop all series whose label values begin with these."""
        _remove(self._values, labels)

    def lines(self) -> Iterator[str]:
        """See :class:`Instrument`."""
        yield from _header(self.name, self.help, "counter")
        for values, number in self._values.items():
            yield _sample(self.name, self.labels, values, number)


class Gauge:
    """A number that goes up and down, one per combination of label values."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name, self.help, self.labels = name, help, tuple(labels)
        self._values: dict[_Labels, float] = {}

    def set(self, value: float, *labels: str) -> None:
        """Set the series with these label values."""
        _check(self.labels, labels)
        self._values[labels] = value

    def value(self, *labels: str) -> float | None:
        """The current number of one series, or None where there is none."""
        return self._values.get(labels)

    def remove(self, *labels: str) -> None:
        """Drop all series whose label values begin with these."""
        _remove(self._values, labels)

    def lines(self) -> Iterator[str]:
        """See :class:`Instrument`."""
        yield from _header(self.name, self.help, "gauge")
        for values, number in self._values.items():
            yield _sample(self.name, self.labels, values, number)


class Histogram:
    """A distribution in cumulative buckets, one per combination of label values."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = (), *, buckets: Sequence[float]) -> None:
        self.name, self.help, self.labels = name, help, tuple(labels)
        self._bounds = tuple(sorted(buckets))
        self._values: dict[_Labels, tuple[list[int], float]] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Count one observation in the series with these label values."""
        _check(self.labels, labels)
        counts, total = self._values.get(labels) or ([0] * (len(self._bounds) + 1), 0.0)
        counts[bisect_left(self._bounds, value)] += 1
        self._values[labels] = (counts, total + value)

    def count(self, *labels: str) -> int:
        """How many observations one series has."""
        counts, _ = self._values.get(labels, ([], 0.0))
        return sum(counts)

    def lines(self) -> Iterator[str]:
        """See :class:`Instrument`."""
        yield from _header(self.name, self.help, "histogram")
        names = (*self.labels, "le")
        for values, (counts, total) in self._values.items():
            seen = 0
            for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
                seen += count
                yield _sample(f"{self.name}_bucket", names, (*values, _number(bound)), seen)
            yield _sample(f"{self.name}_sum", self.labels, values, total)
            yield _sample(f"{self.name}_count", self.labels, values, seen)


def _check(names: _Labels, values: _Labels) -> None:
    if len(names) != len(values):
        raise ValueError(f"expected values for the labels {names}, got {values}")


def _remove(values: dict[_Labels, float], prefix: _Labels) -> None:
    for labels in [known for known in values if known[: len(prefix)] == prefix]:
        del values[labels]


def _header(name: str, help: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"


def _sample(name: str, names: _Labels, values: _Labels, number: float) -> str:
    if not names:
        return f"{name} {_number(number)}"
    pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in zip(names, values, strict=True))
    return f"{name}{{{pairs}}} {_number(number)}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

RECONCILES = Counter(
    "taskyard_operator_reconciles_total", "Reconcile passes by outcome (ok, error).", ("kind", "result")
)
RECONCILE_SECONDS = Histogram(
    "taskyard_operator_reconcile_seconds", "How long a reconcile pass took.", ("kind",), buckets=_SECONDS
)
REACTION_SECONDS = Histogram(
    "taskyard_operator_reaction_seconds",
    "From the moment a key became due to the end of its pass.",
    ("kind",),
    buckets=_SECONDS,
)
QUEUE_DEPTH = Gauge("taskyard_operator_work_queue_depth", "Keys that are due and wait for a free runner.")
QUEUE_RUNNING = Gauge("taskyard_operator_work_queue_running", "Keys being reconciled now.")
QUEUE_OLDEST_SECONDS = Gauge("taskyard_operator_work_queue_oldest_seconds", "Age of the oldest due key.")
QUEUE_FAILING = Gauge("taskyard_operator_work_queue_failing", "Keys whose last pass failed.")
LOOP_LAG_SECONDS = Gauge("taskyard_operator_loop_lag_seconds", "How late the last heartbeat of the loop was.")
WATCH_EVENTS = Counter("taskyard_operator_watch_events_total", "Watch events received.", ("resource",))
API_REQUESTS = Counter(
    "taskyard_operator_api_requests_total",
    "Requests to the API server; code 0 is a request without an answer.",
    ("verb", "resource", "code"),
)
API_SECONDS = Histogram(
    "taskyard_operator_api_request_seconds",
    "How long an answer of the API server took.",
    ("verb",),
    buckets=_SECONDS,
)
BROKER_FAILURES = Counter(
    "taskyard_operator_broker_failures_total", "Broker polls that failed.", ("namespace", "queue")
)
POOL_REPLICAS = Gauge(
    "taskyard_pool_replicas",
    "Pods of a pool by state: desired, ready, busy, draining.",
    ("namespace", "pool", "state"),
)
POOL_SLOTS = Gauge("taskyard_pool_slots", "Slots of a pool: total, busy.", ("namespace", "pool", "state"))
QUEUE_MESSAGES = Gauge(
    "taskyard_queue_messages",
    "Messages of a queue: ready, unacknowledged, dead.",
    ("namespace", "queue", "state"),
)
QUEUE_CONSUMERS = Gauge("taskyard_queue_consumers", "Consumers of a queue.", ("namespace", "queue"))

_ALL: tuple[Instrument, ...] = (
    RECONCILES,
    RECONCILE_SECONDS,
    REACTION_SECONDS,
    QUEUE_DEPTH,
    QUEUE_RUNNING,
    QUEUE_OLDEST_SECONDS,
    QUEUE_FAILING,
    LOOP_LAG_SECONDS,
    WATCH_EVENTS,
    API_REQUESTS,
    API_SECONDS,
    BROKER_FAILURES,
    POOL_REPLICAS,
    POOL_SLOTS,
    QUEUE_MESSAGES,
    QUEUE_CONSUMERS,
)


def pool(
    namespace: str,
    name: str,
    *,
    desired: int,
    ready: int,
    busy: int,
    draining: int,
    slots: int = 0,
    busy_slots: int = 0,
) -> None:
    """Report a pool as its last reconcile pass saw it."""
    for state, count in (("desired", desired), ("ready", ready), ("busy", busy), ("draining", draining)):
        POOL_REPLICAS.set(count, namespace, name, state)
    POOL_SLOTS.set(slots, namespace, name, "total")
    POOL_SLOTS.set(busy_slots, namespace, name, "busy")


def forget_pool(namespace: str, name: str) -> None:
    """Drop the series of a pool that is gone."""
    POOL_REPLICAS.remove(namespace, name)
    POOL_SLOTS.remove(namespace, name)


def queue(
    namespace: str, name: str, *, ready: int, unacknowledged: int, dead: int, consumers: int | None = None
) -> None:
    """Report a TaskQueue as its broker last told it. ``name`` is the resource's name."""
    for state, count in (("ready", ready), ("unacknowledged", unacknowledged), ("dead", dead)):
        QUEUE_MESSAGES.set(count, namespace, name, state)
    if consumers is not None:
        QUEUE_CONSUMERS.set(consumers, namespace, name)


def forget_queue(namespace: str, name: str) -> None:
    """Drop the series of a TaskQueue that is gone."""
    QUEUE_MESSAGES.remove(namespace, name)
    QUEUE_CONSUMERS.remove(namespace, name)
    BROKER_FAILURES.remove(namespace, name)


def render(instruments: Sequence[Instrument] = _ALL) -> str:
    """All instruments in the Prometheus text format."""
    return "".join(f"{line}\n" for instrument in instruments for line in instrument.lines())
