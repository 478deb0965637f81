"""The consumer with a pool and a link of the tests' own: every delivery is settled once, in the right way."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest

from taskyard import App
from taskyard.broker.delivery import Delivery
from taskyard.errors import AlreadySettled
from taskyard.execution.job import ACK, Job, Outcome
from taskyard.loop import Loop
from taskyard.pool.pool import Limits, LostJob, Pool, Running
from taskyard.result.store import NoStore
from taskyard.worker import intake
from taskyard.worker.consumer import Consumer
from taskyard.worker.deadletters import DeadLetterRules
from taskyard.worker.figures import State
from taskyard.worker.settler import Settler

if TYPE_CHECKING:
    from taskyard.broker.link import Link


class FakeLink:
    #: Only declared: as long as a test does not replace them, __getattr__ notes the call.
    ready_to_settle: Callable[[], None]
    ack_again: Callable[[set[Any]], None]

    def __init__(self, keeps: bool = False) -> None:
        self.alive = True
        self.keeps_deliveries = keeps
        self.calls: list[Any] = []

    @property
    def link(self) -> Link:
        return cast("Link", self)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda delivery, *more: self.calls.append((name, getattr(delivery, "tag", delivery), *more))


class FakePool(Pool):
    slots = 2

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.jobs: list[tuple[Job, Limits]] = []
        self.begun: list[int] = []
        self.terminated: list[tuple[int, int]] = []

    def start(self) -> None:
        pass

    def attach(self, loop: object) -> None:
        pass

    def accepts(self, name: str) -> bool:
        return len(self.jobs) < self.room

    def submit(self, job: Job, limits: Limits) -> None:
        self.jobs.append((job, limits))

    def flush(self) -> None:
        pass

    def depth(self, name: str) -> int:
        return 1

    def running(self) -> list[Running]:
        return [Running(seq, 0.0) for seq in self.begun]

    def terminate_job(self, seq: int, number: int) -> bool:
        self.terminated.append((seq, number))
        return True

    def kill(self) -> None:
        pass

    def close(self) -> None:
        pass

    def take_back(self) -> list[int]:
        taken, self.jobs = [job.seq for job, _ in self.jobs], []
        return taken


Parts = tuple[Consumer, FakePool, FakeLink]


@pytest.fixture
def parts() -> Iterator[Parts]:
    app = App("unit", broker="memory://")
    app.task(name="t", time_limit=9)(lambda: None)
    pool, loop = FakePool(), Loop()
    consumer = Consumer(
        app, loop, pool, Settler(NoStore()), State("n", 2, ["q"]),
        DeadLetterRules({"q": {"maxDeliveries": 3}}),
        Limits(60, None),
    )  # fmt: skip
    consumer.open = True
    yield consumer, pool, FakeLink()
    loop.close()


_tags = iter(range(1, 10**6))


def delivery(link: FakeLink, redelivered: bool = False, **headers: Any) -> Delivery:
    made = {"task": "t", "id": f"id{next(_tags)}", **headers}
    body = json.dumps([[], {}, None])
    return Delivery(
        link.link, made["id"], "q", made, {}, body, "application/json", "utf-8", "", "q", redelivered
    )


def arrive(consumer: Consumer, *deliveries: Delivery) -> None:
    for each in deliveries:
        consumer.on_delivery(each)
    consumer.dispatch()


def done(consumer: Consumer, pool: FakePool, index: int = 0) -> None:
    job, _ = pool.jobs.pop(index)
    consumer.on_outcomes([Outcome(job.seq, ACK, "SUCCESS", [], 0.1)])


def test_a_delivery_is_settled_once() -> None:
    link = FakeLink()
    one = delivery(link)
    one.ack()
    for again in (one.ack, one.requeue, lambda: one.reject("x"), lambda: one.defer(1.0)):
        with pytest.raises(AlreadySettled):
            again()
    assert link.calls == [("ack", one.tag)]


def test_success_acknowledges(parts: Parts) -> None:
    consumer, pool, link = parts
    one = delivery(link)
    arrive(consumer, one)
    assert (consumer.held, pool.jobs[0][1]) == (1, Limits(9, None))
    done(consumer, pool)
    assert link.calls == [("ack", one.tag)]
    assert consumer.held == 0


def test_limits_of_message_task_and_worker(parts: Parts) -> None:
    consumer, pool, link = parts
    consumer.intake.app.task(name="free")(lambda: None)
    arrive(
        consumer,
        delivery(link, timelimit=[5, 4]),
        delivery(link, task="free"),
        delivery(link, task="unknown"),
    )
    assert [limits for _, limits in pool.jobs] == [Limits(5, 4), Limits(60, None), Limits(60, None)]


def test_what_comes_late_after_the_tap_was_closed_goes_back(parts: Parts) -> None:
    consumer, pool, link = parts
    one = delivery(link)
    arrive(consumer, one)
    seq = pool.jobs[0][0].seq
    pool.jobs.clear()  # the child seemed to have begun it
    consumer.close_tap()
    consumer.give_back_waiting()
    assert link.calls == []
    consumer.on_returned([seq])
    assert link.calls == [("give_back", one.tag)]
    assert consumer.held == 0


def test_closing_the_tap_gives_back_in_order(parts: Parts) -> None:
    consumer, pool, link = parts
    pool.room = 2
    all_of_them = [delivery(link) for _ in range(4)]
    arrive(consumer, *all_of_them)
    consumer.close_tap()
    consumer.give_back_waiting()
    assert link.calls == [("give_back", each.tag) for each in reversed(all_of_them)]
    assert (consumer.held, pool.jobs) == (0, [])


def test_expired_due_and_not_due(parts: Parts) -> None:
    consumer, pool, link = parts
    expired, late = (
        delivery(link, expires="2020-01-01T00:00:00+00:00"),
        delivery(link, eta="2999-01-01T00:00:00+00:00"),
    )
    overdue = delivery(link, eta="2020-01-01T00:00:00+00:00")
    arrive(consumer, expired, late, overdue)
    assert link.calls[0] == ("ack", expired.tag)
    assert link.calls[1][:2] == ("defer", late.tag)
    assert [job.id for job, _ in pool.jobs] == [overdue.tag]


def test_what_is_due_soon_waits_here(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime, timedelta

    consumer, pool, link = parts
    assert intake.ETA_PATIENCE == 1
    monkeypatch.setattr(intake, "ETA_PATIENCE", 60.0)
    arrive(consumer, delivery(link, eta=(datetime.now(UTC) + timedelta(seconds=50)).isoformat()))
    assert (len(consumer.parked), pool.jobs) == (1, [])
    soon = delivery(link, eta=(datetime.now(UTC) + timedelta(seconds=0.2)).isoformat())
    arrive(consumer, soon)
    deadline = time.monotonic() + 40
    while not pool.jobs and time.monotonic() < deadline:
        consumer._loop.run_once()
    assert [job.id for job, _ in pool.jobs] == [soon.tag]


def test_a_classic_queue_s_redelivery_is_counted_by_a_copy(parts: Parts) -> None:
    consumer, pool, link = parts
    again, counted = delivery(link, True), delivery(link, True, **{"x-taskyard-deliveries": 1})
    quorum = delivery(link, True, **{"x-delivery-count": 1})
    worn = delivery(link, False, **{"x-taskyard-deliveries": 3})
    arrive(consumer, again, counted, quorum, worn)
    assert link.calls[:2] == [("requeue_counted", again.tag, 1), ("requeue_counted", counted.tag, 2)]
    assert link.calls[2][:2] == ("dead_letter", worn.tag)
    assert [job.id for job, _ in pool.jobs] == [quorum.tag]


def test_a_lost_process_counts_one_delivery_up_to_the_limit(parts: Parts) -> None:
    consumer, pool, link = parts
    for before, call in ((0, "requeue_counted"), (1, "requeue_counted"), (2, "dead_letter")):
        one = delivery(link, False, **{"x-delivery-count": before})
        arrive(consumer, one)
        job, _ = pool.jobs.pop()
        consumer.on_lost([LostJob(job.seq, "was killed", None)])
        assert link.calls[-1][:2] == (call, one.tag)
    assert consumer.held == 0


def test_a_double_of_what_runs_is_not_run(parts: Parts) -> None:
    consumer, pool, link = parts
    consumer.intake.rules = DeadLetterRules({})
    first = delivery(link)
    arrive(consumer, first)
    for _ in range(3):
        link.alive = False
        consumer.on_link_lost(link.link)
        link = FakeLink()
        double = delivery(link, True, id=first.headers["id"])
        arrive(consumer, double)
    assert len(pool.jobs) == 1
    done(consumer, pool)
    assert link.calls == [("ack", double.tag)]
    retry = delivery(link, True, id=first.headers["id"], retries=1)
    arrive(consumer, retry)
    assert len(pool.jobs) == 1, "a retry is another message"


def test_what_runs_is_neither_worn_out_nor_too_late(parts: Parts) -> None:
    consumer, pool, link = parts
    first = delivery(link)
    arrive(consumer, first)
    link.alive = False
    consumer.on_link_lost(link.link)
    new = FakeLink()
    double = delivery(
        new, True, **{"id": first.headers["id"], "x-delivery-count": 9, "expires": "2020-01-01T00:00:00"}
    )
    arrive(consumer, double)
    assert new.calls == []
    done(consumer, pool)
    assert new.calls == [("ack", double.tag)]


def test_what_was_acknowledged_just_before_the_connection_broke_is_not_run_again(parts: Parts) -> None:
    consumer, pool, link = parts
    consumer.intake.rules = DeadLetterRules({})
    first = delivery(link)
    arrive(consumer, first)
    done(consumer, pool)
    link.alive = False
    consumer.on_link_lost(link.link)
    new = FakeLink()
    double = delivery(new, True, id=first.headers["id"])
    arrive(consumer, double)
    assert (pool.jobs, new.calls) == ([], [("ack", double.tag)])


def test_kept_deliveries_move_to_the_next_link(parts: Parts) -> None:
    consumer, pool, _ = parts
    old = FakeLink(keeps=True)
    one, two = delivery(old), delivery(old)
    arrive(consumer, one, two)
    done(consumer, pool)
    old.alive = False
    consumer.on_link_lost(old.link)
    assert consumer.kept_tags() == {one.tag, two.tag}
    new = FakeLink(keeps=True)
    new.ready_to_settle = lambda: new.calls.append("ready")
    new.ack_again = lambda tags: new.calls.append(("ack_again", set(tags)))
    consumer.on_link_open(new.link)
    assert new.calls == ["ready", ("ack_again", {one.tag})]
    done(consumer, pool)
    assert new.calls[-1] == ("ack", two.tag)


@pytest.mark.parametrize("headers", [{"task": 5}, {"id": None}, {"eta": "x"}, {"timelimit": 3}])
def test_malformed_headers_are_dead_lettered(parts: Parts, headers: dict[str, Any]) -> None:
    consumer, pool, link = parts
    one = delivery(link, **headers)
    arrive(consumer, one)
    assert link.calls[0][:2] == ("dead_letter", one.tag)
    assert consumer._state.malformed == 1
    assert (consumer.held, pool.jobs) == (0, [])


def early(parts: Parts) -> tuple[Delivery, int]:
    """A message that is to be acknowledged when it begins, in the pool."""
    consumer, pool, link = parts
    consumer.intake.app.task(name="early", acks_late=False)(lambda: None)
    one = delivery(link, task="early")
    arrive(consumer, one)
    return one, pool.jobs[0][0].seq


def test_what_is_taken_early_is_acknowledged_when_it_begins(parts: Parts) -> None:
    consumer, pool, link = parts
    one, seq = early(parts)
    consumer.acknowledge_early()
    assert link.calls == [], "it has not begun"
    pool.begun = [seq]
    consumer.acknowledge_early()
    consumer.acknowledge_early()
    assert link.calls == [("ack", one.tag)]
    done(consumer, pool)
    assert (link.calls, consumer.held) == ([("ack", one.tag)], 0)


def test_what_is_taken_early_and_ends_before_anybody_looked_is_acknowledged_once(parts: Parts) -> None:
    consumer, pool, link = parts
    one, _ = early(parts)
    done(consumer, pool)
    consumer.acknowledge_early()
    assert link.calls == [("ack", one.tag)]


def test_what_is_to_be_taken_early_and_never_begins_goes_back(parts: Parts) -> None:
    consumer, _, link = parts
    one, _ = early(parts)
    consumer.close_tap()
    consumer.give_back_waiting()
    consumer.acknowledge_early()
    assert link.calls == [("give_back", one.tag)]


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("first_again", [True, False])
def test_what_comes_again_anyway_is_ended_with_its_connection(
    parts: Parts, keeps: bool, first_again: bool
) -> None:
    consumer, pool, _ = parts
    consumer.intake.rules = DeadLetterRules({})
    consumer.intake.app.conf.worker_cancel_long_running_tasks_on_connection_loss = True
    link = FakeLink(keeps)
    first = delivery(link)
    arrive(consumer, first)
    seq = pool.jobs[0][0].seq
    link.alive = False
    consumer.on_link_lost(link.link)
    if keeps:
        assert pool.terminated == [], "its lease stays ours"
        return
    assert pool.terminated == [(seq, signal.SIGTERM)]
    pool.jobs.clear()
    new = FakeLink()
    lost = LostJob(seq, "was killed", None, signal.SIGTERM)
    if first_again:
        early_bird = delivery(new, True, id=first.headers["id"])
        arrive(consumer, early_bird)
        consumer.on_lost([lost])
        assert (pool.jobs, new.calls) == ([], [("requeue", early_bird.tag)])
        return
    consumer.on_lost([lost])
    again = delivery(new, True, id=first.headers["id"])
    arrive(consumer, again)
    assert len(pool.jobs) == 1, "it runs anew"
    done(consumer, pool)
    assert (link.calls, new.calls) == ([], [("ack", again.tag)])


def test_a_timeout_that_is_not_acknowledged_counts_as_a_delivery(parts: Parts) -> None:
    consumer, pool, link = parts
    consumer.intake.app.task(name="slow", acks_on_timeout=False)(lambda: None)
    for count, call in ((0, "requeue_counted"), (1, "requeue_counted"), (2, "dead_letter")):
        one = delivery(link, task="slow")
        one.headers["x-taskyard-deliveries"] = count
        arrive(consumer, one)
        job, _ = pool.jobs.pop()
        consumer.on_lost([LostJob(job.seq, "was killed", 1.0)])
        assert link.calls[-1][0] == call
