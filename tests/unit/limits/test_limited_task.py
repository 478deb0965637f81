"""Tasks with rules, run by a Runner on a store in memory."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from time import sleep, time
from typing import Any

import pytest

from taskyard import App, Task
from taskyard.client.producer import Producer
from taskyard.execution.job import ACK, POSTPONED, Job, Outcome
from taskyard.execution.runner import Runner
from taskyard.limits import Concurrency, LimitedTask, Lock, Once, Rate, current_lease
from taskyard.limits.admission import limits_of
from taskyard.limits.store import Share
from taskyard.result.meta import decode_meta

Sent = list[Any]


@pytest.fixture
def app() -> App:
    return App("unit", broker="memory://", result_backend="redis://nowhere")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    messages: Sent = []
    monkeypatch.setattr(
        Producer, "publish", lambda self, message, route, **options: messages.append(message.headers["id"])
    )
    return messages


def run(app: App, name: str, *args: Any, task_id: str = "1", **headers: Any) -> Outcome:
    made = {"task": name, "id": task_id, "retries": 0, **headers}
    body = json.dumps([args, {}, None]).encode()
    info = {"exchange": "", "routing_key": "q", "priority": 0, "redelivered": False}
    job = Job(1, name, task_id, body, "application/json", "utf-8", made, {}, info)
    return Runner(app, "node", store=True).run(job)


def result_of(outcome: Outcome) -> Any:
    return decode_meta(outcome.results[0][1])["result"]


def test_the_second_call_within_the_window_gets_the_result_of_the_first(app: App, sent: Sent) -> None:
    @app.task(limits=[Once("{order}", window=60)])
    def receipt(order: int) -> int:
        return order

    first, second, other = receipt.delay(1), receipt.delay(1), receipt.delay(2)
    assert first.id == second.id != other.id
    assert sent == [first.id, other.id]
    assert run(app, receipt.name, 1, task_id=first.id).disposition == ACK
    assert receipt.delay(1).id == first.id, "the window goes on after the end"


def test_a_message_that_could_not_be_sent_claims_nothing(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.task(limits=[Once("{order}")])
    def receipt(order: int) -> int:
        return order

    def away(*args: Any, **options: Any) -> None:
        raise ConnectionError("broker away")

    monkeypatch.setattr(Producer, "publish", away)
    with pytest.raises(ConnectionError):
        receipt.delay(1)
    messages: Sent = []
    monkeypatch.setattr(Producer, "publish", lambda *args, **options: messages.append(1))
    receipt.delay(1)
    assert messages == [1]


def test_a_duplicate_that_came_another_way_does_not_run(app: App) -> None:
    ran = []

    @app.task(limits=[Once("{order}", window=60)])
    def receipt(order: int) -> None:
        ran.append(order)

    assert run(app, receipt.name, 1, task_id="a").state == "SUCCESS"
    duplicate = run(app, receipt.name, 1, task_id="b")
    assert duplicate.state == "FAILURE"
    assert (type(result_of(duplicate)).__name__, result_of(duplicate).args) == ("DuplicateTask", ("a",))
    again = run(app, receipt.name, 1, task_id="a")
    assert (again.state, again.disposition, again.results) == ("IGNORED", ACK, [])
    assert ran == [1]


def test_a_failure_gives_the_key_up_and_a_retry_keeps_it(app: App, sent: Sent) -> None:
    class WrongError(Exception):
        pass

    @app.task(limits=[Once("{order}")], autoretry_for=(OSError,), max_retries=1)
    def receipt(order: int) -> None:
        if order == 2:
            raise OSError("again")
        raise WrongError

    run(app, receipt.name, 1, task_id="a")
    assert result_of(run(app, receipt.name, 1, task_id="b")).__class__.__name__ == "WrongError"
    assert run(app, receipt.name, 2, task_id="a").state == "RETRY"
    assert result_of(run(app, receipt.name, 2, task_id="b")).args == ("a",)
    assert run(app, receipt.name, 2, task_id="a", retries=1).state == "FAILURE"
    assert run(app, receipt.name, 2, task_id="b", retries=1).state == "FAILURE"


def test_a_claim_outlives_the_wait_for_an_eta_and_for_a_retry(app: App, sent: Sent) -> None:
    @app.task(bind=True, limits=[Once("{order}", window=0.05)])
    def receipt(self: Task[..., Any], order: int) -> None:
        raise self.retry(countdown=300)

    eta = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=300)
    first = receipt.apply_async((1,), eta=eta)
    second = receipt.apply_async((2,), countdown=300)
    assert run(app, receipt.name, 3, task_id="a").state == "RETRY"
    sleep(0.1)
    assert receipt.delay(1).id == first.id
    assert receipt.delay(2).id == second.id
    assert receipt.delay(3).id == "a"


def test_a_task_without_room_is_postponed_and_holds_nothing(app: App) -> None:
    tokens = []

    @app.task(limits=[Rate(1, per=100, burst=2, key="rate"), Lock("lock"), Concurrency(2, key="two")])
    def busy() -> None:
        lease = current_lease()
        assert lease is not None
        tokens.append(lease.token)

    limits = limits_of(app)
    with limits.lock("lock"):
        began = time()
        outcome = run(app, busy.name)
        assert outcome.disposition == POSTPONED
        assert 0.7 < outcome.due - began < 10
    assert current_lease() is None
    with limits.slot("two", 2):
        assert run(app, busy.name).disposition == ACK
        with limits.slot("two", 2):
            assert run(app, busy.name).disposition == POSTPONED
    with limits.lock("lock"), limits.slot("two", 1):
        """Everything was given up again."""
    assert run(app, busy.name).disposition == ACK
    booked = run(app, busy.name)
    assert booked.disposition == POSTPONED, "the burst is used up"
    assert 90 < booked.due - time() <= 100
    assert abs(run(app, busy.name).due - booked.due) < 10, "a message books once"
    assert run(app, busy.name, task_id="2").due - time() > 190
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 2


def test_places_are_divided_fairly_between_tenants(app: App) -> None:
    @app.task(limits=[Concurrency(2, key="gpu", share="{tenant}")])
    def serve(tenant: str) -> str:
        return tenant

    store, big = limits_of(app).store, Share("big", 60)
    holders = [big.holder(str(number)) for number in range(2)]
    for holder in holders:
        assert store.enter("gpu", 2, holder, holder, 60, big).token
    assert run(app, serve.name, "big", task_id="b").disposition == POSTPONED
    assert run(app, serve.name, "small", task_id="s").disposition == POSTPONED
    store.leave("gpu", holders[0])
    assert run(app, serve.name, "big", task_id="b").disposition == POSTPONED, "it is the other one's turn"
    assert run(app, serve.name, "small", task_id="s").disposition == ACK
    assert run(app, serve.name, "big", task_id="b").disposition == ACK, "nobody else waits any more"


def test_a_claim_is_kept_while_postponed_and_given_up_when_refused(app: App, sent: Sent) -> None:
    @app.task(limits=[Once("{order}", window=0.05), Rate(1, per=300, key="r")])
    def slow(order: int) -> None: ...

    @app.task(limits=[Once("{order}"), Lock("lock", busy="fail")])
    def refused(order: int) -> None: ...

    run(app, slow.name, 1, task_id="a")
    assert run(app, slow.name, 2, task_id="b").disposition == POSTPONED
    sleep(0.1)
    assert slow.delay(2).id == "b"
    with limits_of(app).lock("lock"):
        assert run(app, refused.name, 1, task_id="a").state == "FAILURE"
    assert run(app, refused.name, 1, task_id="b").state == "SUCCESS"


def test_what_shall_not_wait_fails(app: App) -> None:
    @app.task(limits=[Lock("lock", busy="fail")])
    def locked() -> None: ...

    @app.task(limits=[Rate(1, per=100, key="r", busy="fail")])
    def rated() -> None: ...

    with limits_of(app).lock("lock"):
        assert type(result_of(run(app, locked.name))).__name__ == "NotAdmitted"
    assert run(app, rated.name).state == "SUCCESS"
    for _ in range(2):
        assert type(result_of(run(app, rated.name, task_id="2"))).__name__ == "NotAdmitted"


def test_classes_methods_and_coroutines_have_limits_too(app: App) -> None:
    class Pay(LimitedTask):
        name = "pay"
        limits = (Once("{order}"),)

        def run(self, order: int) -> int:
            return order

    app.register_task(Pay())

    @app.task(bind=True, limits=[Once("{order}")])
    def bound(self: Task[..., Any], order: int) -> str:
        return self.name

    @app.task(limits=[Lock("{order}")])
    async def later(order: int) -> bool:
        await asyncio.sleep(0)
        return current_lease() is not None

    assert result_of(run(app, "pay", 3)) == 3
    assert run(app, "pay", 3, task_id="2").state == "FAILURE"
    assert result_of(run(app, bound.name, 3)) == bound.name
    assert run(app, bound.name, 3, task_id="2").state == "FAILURE"
    assert result_of(run(app, later.name, 3)) is True
    with limits_of(app).lock("3"):
        assert run(app, later.name, 3).disposition == POSTPONED
    assert bound(3) == bound.name, "a direct call is not limited"


def test_the_task_s_own_base_class_stays(app: App) -> None:
    calls = []

    class Mine(Task[..., Any]):
        def on_success(self, *args: Any) -> None:
            calls.append(self.name)

    @app.task(base=Mine, limits=[Lock()])
    def task() -> None: ...

    assert isinstance(task, Mine)
    assert run(app, task.name).state == "SUCCESS"
    assert calls == [task.name]
    with limits_of(app).lock(task.name):
        assert run(app, task.name).disposition == POSTPONED


def test_a_store_that_is_away_postpones(app: App) -> None:
    @app.task(limits=[Lock()])
    def task() -> None: ...

    app.conf.broker_url = "sqlite:////nonexistent/broker.db"
    outcome = run(app, task.name)
    assert outcome.disposition == POSTPONED
    assert "/nonexistent/broker.db" in outcome.reason
