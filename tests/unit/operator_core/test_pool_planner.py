"""Who leaves, who comes back, and how revisions share the wanted number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard_operator.core import rollout, victims
from taskyard_operator.core.actions import (
    AddFinalizer,
    ApplyChildren,
    DeletePod,
    DrainPod,
    EnsureDeployment,
    Grow,
    RemoveFinalizer,
    ResumePod,
    Shrink,
)
from taskyard_operator.core.demand import QueueReading
from taskyard_operator.core.planner import PoolMemory, plan
from taskyard_operator.core.scaler import Policy
from taskyard_operator.core.state import (
    DeploymentView,
    PodView,
    PoolSettings,
    PoolView,
    Problem,
    Target,
    Trouble,
    WorkerState,
)

NOW = 1_700_000_000.0
MANUAL = PoolSettings(Policy(), manual=0)


def worker(
    busy: int = 0, *, state: str = "running", held: int | None = None, oldest: float = 0.0
) -> WorkerState:
    return WorkerState(
        state=state,
        consuming=state == "running",
        slots=4,
        busy=busy,
        held=busy if held is None else held,
        oldest_task_seconds=oldest if busy else None,
    )


def pod(name: str, **fields: Any) -> PodView:
    base = PodView(
        name, f"uid-{name}", "1", "r1", active=True, created=NOW - 100, ip="10.0.0.1", worker=worker()
    )
    return replace(base, **fields)


def released(name: str, **fields: Any) -> PodView:
    return pod(name, **{"active": False, "controlled": False, "draining_since": NOW - 10, **fields})


def view(pods: list[PodView], **fields: Any) -> PoolView:
    manual = fields.pop("manual", None)
    replicas = fields.pop("replicas", sum(1 for item in pods if item.counts))
    settings = fields.pop("settings", replace(MANUAL, manual=replicas if manual is None else manual))
    return PoolView(
        "ns",
        "pool",
        NOW,
        settings,
        fields.pop("target", Target("r1", "pool-r1", digest="d")),
        deployments=fields.pop("deployments", (DeploymentView("pool-r1", "uid-d", "1", "r1", replicas),)),
        pods=tuple(pods),
        queue=fields.pop("queue", QueueReading(0, 0, NOW)),
        **fields,
    )


SEEN = PoolMemory(applied="d", applied_at=NOW)


def names(refs: tuple[Any, ...]) -> list[str]:
    return [ref.name for ref in refs]


# -- who leaves


def test_the_order_in_which_pods_leave() -> None:
    pods = [
        pod("busy-long", worker=worker(1, oldest=1.0)),
        pod("busy-soon", worker=worker(1, oldest=9.0)),
        pod("very-busy", worker=worker(3)),
        pod("holds", worker=worker(0, held=1)),
        pod("idle-old"),
        pod("idle-young", created=NOW - 5),
        pod("starting", started=False, worker=None),
        pod("nowhere", scheduled=False, started=False, worker=None, unschedulable_since=NOW - 9),
        pod("silent", worker=None),
        pod("drained-before", worker=worker(state="drained")),
    ]
    chosen = victims.choose(pods, replicas=len(pods), count=9, service_time=10.0)
    assert chosen.absent == 1
    assert [item.name for item in chosen.release] == ["starting"]
    assert [item.name for item in chosen.drain] == [
        "drained-before",
        "idle-young",
        "idle-old",
        "holds",
        "busy-soon",
        "busy-long",
        "very-busy",
    ]
    assert chosen.count == 9  # and never the silent one
    assert victims.choose(pods, replicas=len(pods), count=10, service_time=10.0).count == 9


def test_replicas_that_do_not_exist_yet_leave_first() -> None:
    chosen = victims.choose([pod("a"), pod("b")], replicas=5, count=4, service_time=1.0)
    assert (chosen.absent, len(chosen.drain)) == (3, 1)


def test_a_pod_about_to_be_adopted_is_neither_absent_nor_chosen() -> None:
    pods = [pod("a"), pod("coming", controlled=False)]
    chosen = victims.choose(pods, replicas=2, count=2, service_time=1.0)
    assert chosen.absent == 0
    assert [item.name for item in chosen.drain] == ["a"]


@given(
    states=st.lists(st.tuples(st.integers(0, 4), st.floats(0, 100)), min_size=1, max_size=10),
    count=st.integers(1, 10),
)
def test_no_busy_pod_leaves_while_an_idle_one_stays(states: list[tuple[int, float]], count: int) -> None:
    pods = [pod(f"p{i}", worker=worker(busy, oldest=age)) for i, (busy, age) in enumerate(states)]
    chosen = victims.choose(pods, replicas=len(pods), count=count, service_time=10.0)
    left = {item.name for item in pods} - {item.name for item in chosen.drain}
    most = max((item.worker.busy for item in chosen.drain if item.worker), default=0)
    assert all(item.worker.busy >= most for item in pods if item.name in left and item.worker)


# -- a pass


def test_nothing_to_do_is_no_action() -> None:
    assert plan(view([pod("a"), pod("b", worker=worker(2))]), SEEN).actions == ()


def test_the_first_pass_makes_everything_in_order() -> None:
    first = plan(view([], deployments=(), finalizer=False, manual=3), PoolMemory())
    assert [type(action) for action in first.actions] == [AddFinalizer, ApplyChildren, EnsureDeployment, Grow]


def test_fewer_drains_and_releases() -> None:
    made = plan(view([pod("busy", worker=worker(2)), pod("idle")], manual=1), SEEN)
    (shrink,) = made.actions
    assert isinstance(shrink, Shrink)
    assert (names(shrink.drain), shrink.replicas) == (["idle"], 1)


def test_more_resumes_the_latest_first() -> None:
    pods = [
        pod("a"),
        released("early", worker=worker(1, state="draining"), draining_since=NOW - 50),
        released("late", worker=worker(1, state="draining"), draining_since=NOW - 5),
        released("owned", worker=worker(1, state="draining"), controlled=True),
    ]
    (grow,) = plan(view(pods, manual=2), SEEN).actions
    assert isinstance(grow, Grow)
    assert (grow.current, grow.replicas, names(grow.resume)) == (1, 2, ["late"])


@pytest.mark.parametrize("unseen", [{"controlled": True}, {"worker": None}])
def test_no_pod_is_made_while_one_that_was_just_released_may_come_back(unseen: dict[str, Any]) -> None:
    fresh = released("b", **{"worker": worker(1, state="draining"), "draining_since": NOW - 0.3, **unseen})
    assert plan(view([pod("a"), fresh], manual=2), SEEN).actions == ()
    (grow,) = plan(view([pod("a"), fresh], manual=4), SEEN).actions
    assert isinstance(grow, Grow)
    assert (grow.replicas, grow.resume) == (3, ())
    (grow,) = plan(view([pod("a"), replace(fresh, draining_since=NOW - 9)], manual=2), SEEN).actions
    assert isinstance(grow, Grow)
    assert grow.replicas == 2


def test_a_resumed_pod_whose_operator_died_is_put_back() -> None:
    """The Deployment was raised, the label was not put back, and no replacement was made yet."""
    pods = [pod("a"), released("b", worker=worker(1))]
    (grow,) = plan(view(pods, replicas=2, manual=2), SEEN).actions
    assert isinstance(grow, Grow)
    assert (grow.current, grow.replicas, names(grow.resume)) == (2, 2, ["b"])


def test_a_resumed_pod_with_no_room_drains_again() -> None:
    made = plan(view([pod("a"), released("b", worker=worker(1))]), SEEN)
    assert [type(action) for action in made.actions] == [DrainPod]


def test_a_drained_pod_is_deleted_and_a_busy_one_is_not() -> None:
    pods = [
        pod("a"),
        released("busy", worker=worker(1, state="draining")),
        released("holds", worker=worker(0, held=1, state="draining")),
        released("done", worker=worker(state="drained")),
        released("silent", worker=None),
        released("leaving", worker=worker(1, state="stopping")),
        released("starting", started=False, worker=None),
        released("broken", started=False, worker=None, trouble=Trouble("ImagePullFailed", "no")),
    ]
    made = plan(view(pods), SEEN)
    assert [action.pod.name for action in made.actions if isinstance(action, DeletePod)] == ["done", "broken"]
    assert len(made.actions) == 2


def test_an_active_pod_that_was_drained_by_a_dead_operator_works_again() -> None:
    made = plan(view([pod("a", worker=worker(1, state="draining"))]), SEEN)
    assert [type(action) for action in made.actions] == [ResumePod]


def test_a_shrink_waits_for_the_one_before() -> None:
    pods = [pod("a"), pod("b"), pod("stray", started=False, worker=None)]
    assert plan(view(pods, replicas=2, manual=1), SEEN).actions == ()


def test_a_problem_holds_everything_but_sees_drained_pods_off() -> None:
    pods = [pod("a"), pod("b"), released("done", worker=worker(state="drained"))]
    held = view(pods, manual=0, replicas=2, target=None, problem=Problem("QueueNotFound", "no queue"))
    assert [type(action) for action in plan(held, SEEN).actions] == [DeletePod]


def test_deletion_drains_then_deletes_then_lets_go() -> None:
    gone = {"deleting": True, "manual": 3}
    first = plan(view([pod("a", worker=worker(1))], **gone), SEEN)
    assert [type(action) for action in first.actions] == [Shrink]
    second = plan(view([released("a", worker=worker(1, state="draining"))], replicas=0, **gone), SEEN)
    assert second.actions == ()
    third = plan(view([], replicas=0, **gone), SEEN)
    assert isinstance(third.actions[-1], RemoveFinalizer)
    assert plan(view([], replicas=0, finalizer=False, **gone), SEEN).requeue_after is None


# -- revisions


def divided(
    wanted: int, old: int, new: int, *, ready_new: int, ready_old: int | None = None, **fields: Any
) -> dict[str, int]:
    settings = replace(MANUAL, **{"max_surge": 1, **fields})
    ready_old = old if ready_old is None else ready_old
    pods = [pod(f"o{i}", revision="r0", worker=worker() if i < ready_old else None) for i in range(old)]
    pods += [pod(f"n{i}", worker=worker() if i < ready_new else None) for i in range(new)]
    deployments = [
        DeploymentView("pool-r0", "u0", "1", "r0", old),
        DeploymentView("pool-r1", "u1", "1", "r1", new),
    ]
    division = rollout.divide(
        wanted,
        target="pool-r1",
        revision="r1",
        deployments=deployments,
        pods=pods,
        settings=settings,
        now=NOW,
    )
    return dict(division.goals)


@pytest.mark.parametrize(
    ("state", "goals"),
    [
        # (wanted, old, new, new that consume) -> (old, new)
        ((4, 4, 0, 0), (4, 1)),  # the surge first
        ((4, 4, 1, 0), (4, 1)),  # nothing until it consumes
        ((4, 4, 1, 1), (3, 1)),  # then one for one
        ((4, 3, 1, 1), (3, 2)),
        ((4, 3, 2, 2), (2, 2)),
        ((4, 0, 4, 3), (0, 4)),
        ((0, 4, 1, 1), (0, 0)),  # to zero is to zero
        ((8, 4, 1, 0), (8, 1)),  # the load grows, the new one has proven nothing
        ((8, 3, 1, 1), (3, 6)),  # it has: it grows
        ((2, 4, 1, 1), (1, 1)),
    ],
)
def test_one_for_one(state: tuple[int, int, int, int], goals: tuple[int, int]) -> None:
    wanted, old, new, ready = state
    answer = divided(wanted, old, new, ready_new=ready)
    assert (answer["pool-r0"], answer["pool-r1"]) == goals


def test_without_a_surge_the_old_ones_make_room() -> None:
    answer = divided(4, 4, 0, ready_new=0, max_surge=0, max_unavailable=1)
    assert answer == {"pool-r0": 3, "pool-r1": 0}
    answer = divided(4, 3, 0, ready_new=0, max_surge=0, max_unavailable=1)
    assert answer == {"pool-r0": 3, "pool-r1": 1}


@given(
    wanted=st.integers(0, 20),
    old=st.integers(0, 20),
    new=st.integers(0, 20),
    ready=st.integers(0, 20),
    surge=st.integers(0, 20),
    unavailable=st.integers(0, 5),
)
def test_the_division_keeps_its_promises(
    wanted: int, old: int, new: int, ready: int, surge: int, unavailable: int
) -> None:
    answer = divided(wanted, old, new, ready_new=ready, max_surge=surge, max_unavailable=unavailable)
    room = max(surge, 1 if unavailable == 0 else 0)
    consuming = min(ready, new)
    assert sum(answer.values()) <= max(old + new, wanted + room)
    # What goes away of the old is made up by what consumes of the new.
    assert answer["pool-r0"] + consuming >= min(old + consuming, wanted - unavailable)
