"""Places booked by the rate of a task."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from taskyard.errors import ImproperlyConfigured
from taskyard.events.rates import rate
from taskyard.worker import rate_limits
from taskyard.worker.rate_limits import MOST_PARKED, RateLimits


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(rate_limits, "monotonic", lambda: clock.now)
    return clock


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10/s", 10), ("30/m", 0.5), ("36/h", 0.01), ("5", 5), (2, 2), (0.5, 0.5), (None, 0), ("", 0), (0, 0)],
)
def test_rates_are_read_as_celery_reads_them(text: Any, expected: float) -> None:
    assert rate(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["often", "1/d", "-1/s", {}, True, "inf/s"])
def test_what_is_no_rate_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="a rate must be"):
        rate(text or "x")


def test_tasks_of_one_name_begin_an_interval_apart(clock: Any) -> None:
    rates = RateLimits()
    rates.set("a", "2/s")
    assert [rates.book("a") for _ in range(3)] == pytest.approx([0.0, 0.5, 1.0])
    clock.now += 10
    assert rates.book("a") == 0.0
    assert rates.book("free") == 0.0


def test_only_a_few_are_parked_the_others_come_back_in_their_turn(clock: Any) -> None:
    rates = RateLimits()
    rates.set("a", "1/s")
    booked = [rates.book("a") for _ in range(MOST_PARKED + 2)]
    assert booked[-1] is None
    assert booked.count(None) == 1
    assert rates.away("a") < rates.away("a")
    rates.left("a")
    assert rates.book("a") == pytest.approx(MOST_PARKED + 1)


def test_places_are_free_again_when_all_went_back(clock: Any) -> None:
    rates = RateLimits()
    rates.set("a", "1/m")
    rates.book("a")
    rates.book("a")
    rates.forget_places()
    assert rates.book("a") == 0.0


def test_tasks_own_rates_win_over_the_default_and_nonsense_is_named() -> None:
    rates = RateLimits()
    rates.set_all(
        [SimpleNamespace(name="a", rate_limit=None), SimpleNamespace(name="b", rate_limit=0)], "1/s"
    )
    assert ("a" in rates, "b" in rates, bool(rates)) == (True, False, True)
    with pytest.raises(ImproperlyConfigured, match="task 'c'"):
        rates.set_all([SimpleNamespace(name="c", rate_limit="often")], None)
