"""Steps in their order, and a pool's size that follows the load."""

from __future__ import annotations

from typing import Any, cast

import pytest

from taskyard import bootsteps
from taskyard.errors import ImproperlyConfigured
from taskyard.worker import autoscale
from taskyard.worker.autoscale import Autoscaler
from taskyard.worker.steps import steps_of


class A(bootsteps.StartStopStep):
    requires = ("celery.worker.components:Hub",)


class B(bootsteps.StartStopStep):
    requires = (A,)


class C(bootsteps.ConsumerStep):
    requires = (B, A)


class Lonely(bootsteps.Step):
    requires = ("nowhere.at.all:Step",)


class Circle(bootsteps.Step):
    pass


Circle.requires = (Circle,)


def test_steps_come_after_those_that_they_require() -> None:
    for given in ([C, B, A], [A, B, C], [B, C, A]):
        assert steps_of(given) == [A, B, C]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([B], "B requires A, which is not in app.steps"),
        ([Lonely], "nowhere"),
        ([Circle], "requires itself"),
        ([object], "not a subclass of Step"),
    ],
)
def test_steps_that_cannot_be(given: list[Any], says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=says):
        steps_of(given)


class Pool:
    def __init__(self, slots: int) -> None:
        self.slots = slots

    def grow(self, count: int) -> None:
        self.slots += count

    def shrink(self, count: int) -> None:
        self.slots -= count


class Work:
    def __init__(self) -> None:
        self.running: list[int] = []
        self.ready: list[int] = []


def scaler(slots: int, most: int, fewest: int) -> tuple[Autoscaler, Pool, Work]:
    pool, work = Pool(slots), Work()
    return Autoscaler(cast("Any", pool), cast("Any", work), most, fewest), pool, work


def test_it_grows_at_once_and_shrinks_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(autoscale, "monotonic", lambda: now[0])
    autoscaler, pool, work = scaler(1, 5, 1)
    assert autoscaler.extra_prefetch == 1
    work.running, work.ready = [1], [2, 3]
    autoscaler.adjust()
    assert pool.slots == 3
    work.ready = list(range(20))
    autoscaler.adjust()
    assert (pool.slots, autoscaler.extra_prefetch) == (5, 0)
    work.running, work.ready = [1], []
    now[0] += autoscale.KEEPALIVE_SECONDS - 1
    autoscaler.adjust()
    assert pool.slots == 5
    now[0] += 2
    autoscaler.adjust()
    assert pool.slots == 1


def test_new_bounds_hold_at_once() -> None:
    autoscaler, pool, _ = scaler(4, 5, 1)
    assert autoscaler.update(2, None) == (2, 1)
    assert pool.slots == 2
    assert autoscaler.update(None, 3) == (3, 3)
    assert pool.slots == 3
    assert autoscaler.info() == {"max": 3, "min": 3, "current": 3, "qty": 0}
