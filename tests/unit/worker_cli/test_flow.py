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


def test_messages_that_leave_by_a_copy_make_room_for_more_until_none_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, copies = [100.0], [0]
    monkeypatch.setattr("taskyard.worker.flow.monotonic", lambda: clock[0])
    pool = SimpleNamespace(slots=2, bundles=True)
    flow = Flow(1, Pace(adaptive=True), cast("Any", SimpleNamespace(parked=set())), cast("Any", pool))
    link = SimpleNamespace(adjustable=True, prefetch=2, copying=lambda: copies[0])
    told: list[int] = []

    def set_prefetch(count: int) -> None:
        link.prefetch = count
        told.append(count)

    link.set_prefetch = set_prefetch
    for count in (0, 2, 5, 10, 100, 120, 3, 0):
        copies[0] = count
        flow.adjust(cast("Any", link))
    assert told == [10, 18, 34, 130]
    clock[0] += 1.1
    flow.adjust(cast("Any", link))
    assert told[-1] == 2


def test_no_more_room_is_made_after_what_came_in_had_to_be_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("taskyard.worker.flow.monotonic", lambda: clock[0])
    pool = SimpleNamespace(slots=2, bundles=True, running=list)
    consumer = SimpleNamespace(
        parked=set(), ready=[], progress_at=0.0, running={}, give_back_surplus=lambda keep: None
    )
    flow = Flow(1, Pace(adaptive=True), cast("Any", consumer), cast("Any", pool))
    link = SimpleNamespace(adjustable=True, prefetch=2, copying=lambda: 100)
    link.set_prefetch = lambda count: setattr(link, "prefetch", count)
    flow.adjust(cast("Any", link))
    assert link.prefetch == 130
    consumer.ready = [1, 2, 3, 4, 5]
    flow.give_back_surplus(cast("Any", link))
    clock[0] += 9.0
    flow.adjust(cast("Any", link))
    assert link.prefetch == 2
    clock[0] += 2.0
    flow.adjust(cast("Any", link))
    assert link.prefetch == 130
