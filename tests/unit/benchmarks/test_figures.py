"""Medians, winners and what is said of measurements that failed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import METRICS, Median, errors, median, medians, percentile, winner

DRAIN = next(metric for metric in METRICS if metric.key == "drain")
CPU = next(metric for metric in METRICS if metric.key == "cpu")


def drain(entrant: str, rate: float, us: float = 50.0) -> dict[str, Any]:
    return {
        "row": "drain",
        "entrant": entrant,
        "rate": rate,
        "worker_us": us,
        "tasks": 100,
        "enqueue_seconds": 0.5,
    }


def raw(*rounds: list[dict[str, Any]]) -> dict[str, Any]:
    return {"rounds": [{"load": [0.1], "measurements": each} for each in rounds]}


def test_median_has_the_range() -> None:
    assert median([5, 1, 9]) == Median(5, 1, 9, 3)


def test_nothing_has_no_median() -> None:
    assert median([]) is None


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100)])
def test_percentile_of_a_hundred(share: float, expected: float) -> None:
    assert percentile(list(range(1, 101)), share) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_is_one_of_the_values_and_covers_its_share(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(each <= found for each in values) >= share * len(values)


def test_medians_are_over_the_rounds() -> None:
    found = medians(raw([drain("a", 10)], [drain("a", 30)], [drain("a", 20)]))
    assert found["drain"] == {"a": Median(20, 10, 30, 3)}
    assert found["one"]["a"].middle == 200
    assert found["p50"] == {}


def test_a_failed_measurement_counts_for_nothing_and_is_said() -> None:
    failed = {"row": "drain", "entrant": "b", "error": "BenchError: no task\nmore"}
    given = raw([drain("a", 10), failed])
    assert medians(given)["drain"].keys() == {"a"}
    assert errors(given) == ["drain, b: BenchError: no task"]


def test_the_winner_is_the_best_whoever_it_is() -> None:
    found = medians(raw([drain("taskyard", 10, us=5), drain("b", 20, us=9)]))
    assert winner(DRAIN, found["drain"]) == "b"
    assert winner(CPU, found["cpu"]) == "taskyard"
    assert winner(DRAIN, {}) is None
