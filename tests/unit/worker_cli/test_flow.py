"""How many messages the broker may hand out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from taskyard.pool.pace import Pace
from taskyard.worker.flow import Flow


@pytest.mark.parametrize(
    ("bundles", "seconds", "count"),
    [(True, 1.0, 10), (True, 0.0001, 640), (False, 1.0, 10), (False, 0.0001, 20), (False, 0.0098, 15)],
)
def test_more_are_fetched_than_run_only_where_they_wait_for_a_moment(
    bundles: bool, seconds: float, count: int
) -> None:
    pace = Pace(adaptive=True)
    for _ in range(5):
        pace.observe("t", seconds)
    pool = SimpleNamespace(slots=10, bundles=bundles)
    consumer = SimpleNamespace(parked=set())
    assert Flow(1, pace, cast("Any", consumer), cast("Any", pool)).prefetch() == count


@pytest.mark.parametrize(("settled", "kept"), [(False, 3), (True, 4)])
def test_a_task_that_was_acknowledged_when_it_began_takes_no_room(settled: bool, kept: int) -> None:
    pool = SimpleNamespace(slots=1, bundles=True, running=list)
    told: list[int] = []
    consumer = SimpleNamespace(
        parked=set(),
        ready=[1, 2, 3, 4, 5],
        progress_at=0.0,
        running={1: SimpleNamespace(delivery=SimpleNamespace(settled=settled))},
        give_back_surplus=told.append,
    )
    link = SimpleNamespace(adjustable=True, set_prefetch=lambda count: None)
    flow = Flow(4, Pace(adaptive=True), cast("Any", consumer), cast("Any", pool))
    flow.give_back_surplus(cast("Any", link))
    assert told == [kept]
