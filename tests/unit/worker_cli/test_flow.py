"""How many messages the broker may hand out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from taskyard.pool.pace import Pace
from taskyard.worker.flow import Flow


@pytest.mark.parametrize(
    ("bundles", "seconds", "count"),
    [(True, 1.0, 10), (True, 0.0001, 10 * 64), (False, 1.0, 10), (False, 0.0001, 20)],
)
def test_only_where_jobs_wait_behind_each_other_many_are_fetched(
    bundles: bool, seconds: float, count: int
) -> None:
    pace = Pace(adaptive=True)
    for _ in range(5):
        pace.observe("t", seconds)
    pool = SimpleNamespace(slots=10, bundles=bundles)
    consumer = SimpleNamespace(parked=set())
    assert Flow(1, pace, cast("Any", consumer), cast("Any", pool)).prefetch() == count
