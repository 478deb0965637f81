"""Tasks: requests, retries, hooks, eager runs, models."""

from __future__ import annotations

import asyncio
import typing
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from taskyard import App, Task, current_task, signals
from taskyard.context import Context, enter, leave
from taskyard.errors import (
    BrokerDisconnected,
    Ignore,
    ImproperlyConfigured,
    MaxRetriesExceededError,
    Reject,
    Retry,
)
from taskyard.result import AsyncResult
from tests.unit.client.conftest import Sent


class Order(BaseModel):
    number: int
    note: str | None = None


class Receipt(BaseModel):
    total: int


# -- requests
def test_each_task_has_its_own_request(app: App) -> None:
    seen: list[Any] = []

    @app.task(name="inner", bind=True, shared=False)
    def inner(self: Task[..., Any]) -> None:
        seen.append((self.request.task, outer.request.id, current_task.name))

    @app.task(name="outer", bind=True, shared=False)
    def outer(self: Task[..., Any]) -> None:
        inner()

    outer.push_request(id="outer-id", called_directly=False)
    outer.run()
    assert outer.request.id == "outer-id"
    outer.pop_request()
    assert seen == [("inner", "outer-id", "inner")]
    assert outer.request.id is None
    outer.request.retries = 3
    assert outer.request.retries == 3, "the request outside of runs is one object"
    assert len(outer.request_stack) == 0


def test_requests_leave_the_stack_in_any_order(app: App) -> None:
    one = app.task(name="one", shared=False)(lambda: None)
    two = app.task(name="two", shared=False)(lambda: None)
    one.push_request(id="1")
    two.push_request(id="2")
    one.push_request(id="3")
    assert [request.id for request in one.request_stack.stack] == ["1", "3"]
    two.pop_request()
    assert (one.request.id, two.request.id) == ("3", None)
    one.pop_request()
    one.pop_request()
    assert one.request_stack.top is None


def test_a_request_made_of_attributes() -> None:
    request = Context({"id": "x", "timelimit": [5, 3], "mine": 1}, retries=2)
    assert (request.time_limit, request.soft_time_limit, request.headers) == (5, 3, {"mine": 1})
    request.update(callbacks=["c"], headers={"x-death": 1, "own": 2})
    options = request.as_execution_options()
    assert (options["link"], options["headers"], options["retries"]) == (["c"], {"own": 2}, 2)
    assert request.get("nothing", 5) == 5
    with pytest.raises(AttributeError, match="nothing"):
        _ = request.nothing
    request.clear()
    assert request.id is None


def test_an_overridden_call_enters_the_task_once(app: App) -> None:
    seen: list[Any] = []

    class Counting(Task[..., Any]):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            seen.append(self.request.id)
            return super().__call__(*args, **kwargs)

    @app.task(base=Counting, bind=True, name="counting", shared=False)
    def task(self: Task[..., Any]) -> Any:
        return self.request.id

    result = task.apply(task_id="eager-id")
    assert (result.get(), seen) == ("eager-id", ["eager-id"])


# -- retries
def retry_in_worker(task: Any, sent: list[Sent], **options: Any) -> tuple[Exception, list[Sent]]:
    enter(
        task,
        Context(
            id="me",
            args=[1, 2],
            kwargs={"z": 3},
            retries=1,
            called_directly=False,
            timelimit=[9, 5],
            delivery_info={"exchange": "", "routing_key": "q", "priority": 4},
            headers={"own": 1, "x-death": []},
            callbacks=[{"task": "next"}],
            ignore_result=False,
        ),
    )
    try:
        with pytest.raises(Exception) as raised:
            task.retry(**options)
    finally:
        leave(task)
    return raised.value, sent


def test_a_retry_is_the_same_message_again(app: App, sent: list[Sent]) -> None:
    task = app.task(name="again", shared=False, ignore_result=True)(lambda x, y=0, z=0: None)
    error, _ = retry_in_worker(task, sent, countdown=10, exc=KeyError("why"))
    message = sent[0]
    assert isinstance(error, Retry)
    assert (error.when, str(error)) == (10, "Retry in 10s: KeyError('why')")
    headers = message.headers
    assert (headers["id"], headers["retries"], headers["timelimit"]) == ("me", 2, [9, 5])
    assert (headers["own"], "x-death" in headers, headers["ignore_result"]) == (1, False, False)
    assert message.body[:2] == [[1, 2], {"z": 3}]
    assert message.embed["callbacks"] == [{"task": "next"}]
    assert (message.route.queue, message.route.priority, message.confirmed) == ("q", 4, True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"args": [7]}, [[7], {"z": 3}]),
        ({"args": [7, 8, 9]}, [[7, 8, 9], {}]),
        ({"kwargs": {"y": 8}}, [[1, 8], {}]),
        ({"kwargs": {"z": 8}}, [[1, 2], {"z": 8}]),
        ({"args": [7], "kwargs": {}}, [[7], {}]),
    ],
)
def test_a_retry_with_other_arguments(app: App, sent: list[Sent], options: Any, expected: Any) -> None:
    task = app.task(name="again", shared=False)(lambda x, y=0, z=0: None)
    retry_in_worker(task, sent, **options)
    assert sent[0].body[:2] == expected


def test_retries_end(app: App, sent: list[Sent]) -> None:
    task = app.task(name="again", shared=False, max_retries=1)(lambda x, y=0, z=0: None)
    assert isinstance(retry_in_worker(task, sent, exc=KeyError("last"))[0], KeyError)
    error, _ = retry_in_worker(task, sent)
    assert isinstance(error, MaxRetriesExceededError)
    assert (error.task_args, error.task_kwargs) == ((1, 2), {"z": 3})
    assert isinstance(retry_in_worker(task, sent, max_retries=5)[0], Retry)
    assert len(sent) == 1
    with pytest.raises(KeyError):
        task.retry(exc=KeyError("called directly"))
    with pytest.raises(Retry):
        task.retry()


def test_a_retry_that_cannot_be_sent_gives_the_message_back(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = app.task(name="again", shared=False)(lambda x, y=0, z=0: None)

    def gone(*args: Any, **options: Any) -> None:
        raise BrokerDisconnected("gone")

    monkeypatch.setattr(app, "send_task", gone)
    error, _ = retry_in_worker(task, [])
    assert isinstance(error, Reject)
    assert error.requeue


# -- eager
def test_apply_runs_hooks_signals_and_retries(app: App) -> None:
    seen: list[str] = []

    class Noting(Task[..., Any]):
        def before_start(self, *args: Any) -> None:
            seen.append("before_start")

        def on_success(self, *args: Any) -> None:
            seen.append("on_success")

        def on_retry(self, *args: Any) -> None:
            seen.append("on_retry")

        def on_failure(self, *args: Any) -> None:
            seen.append("on_failure")

        def after_return(self, status: str, *args: Any) -> None:
            seen.append(status)

    def signalled(signal: Any, **_: Any) -> None:
        seen.append(signal.name)

    watched = (signals.task_prerun, signals.task_postrun, signals.task_success, signals.task_retry)
    for signal in watched:
        signal.connect(signalled)
    try:

        @app.task(base=Noting, bind=True, name="twice", shared=False)
        def twice(self: Task[..., Any], x: int) -> int:
            if not self.request.retries:
                raise self.retry(args=[x + 1])
            return x

        assert twice.apply((1,)).get() == 2
    finally:
        for signal in watched:
            signal.disconnect(signalled)
    first = ["task_prerun", "before_start", "on_retry", "task_retry", "task_postrun"]
    second = ["task_prerun", "before_start", "on_success", "task_success", "SUCCESS", "task_postrun"]
    assert seen == first + second


def test_apply_tells_how_it_ended(app: App) -> None:
    @app.task(name="ends", shared=False)
    def ends(how: str) -> None:
        raise {"fail": KeyError("no"), "ignore": Ignore(), "reject": Reject()}[how]

    failed = ends.apply(("fail",))
    assert (failed.state, type(failed.result)) == ("FAILURE", KeyError)
    assert "KeyError: 'no'" in failed.traceback
    assert [ends.apply((how,)).state for how in ("ignore", "reject")] == ["IGNORED", "REJECTED"]
    with pytest.raises(KeyError):
        ends.apply(("fail",), throw=True)
    app.conf.task_eager_propagates = True
    with pytest.raises(KeyError):
        ends.apply(("fail",))


def test_always_eager_goes_through_the_serializer_and_the_links(app: App, sent: list[Sent]) -> None:
    app.conf.task_always_eager = True
    seen: list[Any] = []
    note = app.task(name="note", shared=False)(seen.append)

    @app.task(name="eager", shared=False, bind=True, time_limit=5)
    def eager(self: Task[..., Any], x: Any) -> Any:
        seen.append((type(x), self.request.is_eager, self.request.timelimit))
        return x

    assert eager.apply_async(((1, 2),), link=note.s()).get() == [1, 2]
    assert seen == [(list, True, [5, None]), [1, 2]]
    assert sent == []
    with pytest.raises(Exception, match="cannot be sent"):
        eager.delay(object())


def test_eager_results_can_be_stored(app: App) -> None:
    app.conf.update(result_backend="cache+memory://", task_store_eager_result=True)
    task = app.task(name="kept", shared=False)(lambda x: x)
    result = task.apply((5,))
    assert app.AsyncResult(result.id).result == 5
    task.apply((6,), task_id="unkept", ignore_result=True)
    assert app.AsyncResult("unkept").state == "PENDING"


def test_autoretry_in_eager_runs(app: App) -> None:
    attempts: list[int] = []

    @app.task(
        name="auto",
        shared=False,
        autoretry_for=(KeyError,),
        retry_kwargs={"max_retries": 2},
        retry_backoff=True,
    )
    def auto() -> None:
        attempts.append(1)
        raise KeyError("always")

    assert type(auto.apply().result) is KeyError
    assert len(attempts) == 3


def test_coroutines_run_eagerly_with_and_without_a_loop(app: App) -> None:
    @app.task(name="coro", shared=False)
    async def coro(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    async def within() -> Any:
        return coro.apply((2,)).get()

    assert coro.apply((1,)).get() == 2
    assert asyncio.run(within()) == 3


# -- options and definitions
def test_options_that_are_none_become_attributes(app: App) -> None:
    task = app.task(name="own", shared=False, colour="red", shadow_name=lambda self, a, k, o: "other")(
        lambda: 1
    )
    assert task.colour == "red"  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="did you mean 'max_retries'"):
        app.task(max_retrys=3)(lambda: None)
    with pytest.raises(TypeError, match="not supported"):
        app.task(Strategy="x")(lambda: None)


def test_the_hook_for_shadow_names(app: App, sent: list[Sent]) -> None:
    @app.task(name="own", shared=False, shadow_name=lambda self, args, kwargs, options: f"own-{args[0]}")
    def own(x: int) -> None:
        pass

    own.delay(1)
    own.apply_async((2,), shadow="given")
    assert [each.headers["shadow"] for each in sent] == ["own-1", "given"]


def test_typing_can_be_switched_off(app: App, sent: list[Sent]) -> None:
    task: Any = app.task(name="loose", shared=False, typing=False)(lambda x: x)
    task.delay()
    loose = App("loose", strict_typing=False, broker="memory://", set_as_current=False)
    task = loose.task(name="loose2", shared=False)(lambda x: x)
    task.delay(1, 2, 3)
    assert len(sent) == 2


def test_tasks_keep_what_their_function_says(app: App) -> None:
    @app.task(shared=False)
    def documented(x: Order) -> int:
        """Count."""
        return 1

    assert (documented.__doc__, documented.__name__) == ("Count.", "documented")
    assert typing.get_type_hints(documented) == {"x": Order, "return": int}


def test_a_task_may_have_a_result_store_and_class_of_its_own(app: App, sent: list[Sent]) -> None:
    class OwnResult(AsyncResult[Any]):
        pass

    class Own(Task[..., Any]):
        def AsyncResult(self, task_id: str, **options: Any) -> Any:  # noqa: N802
            return OwnResult(task_id, app=self.app)

    app.conf.result_backend = "redis://x"
    own: Any = app.task(base=Own, name="own", shared=False)(lambda: None)
    store: Any = app.task(backend="cache+memory://", name="store", shared=False)(lambda: None)
    assert own.backend is app.backend
    assert store.delay().backend is store.backend is not app.backend
    assert type(own.delay()) is OwnResult


def test_update_state_stores(app: App) -> None:
    app.conf.result_backend = "cache+memory://"
    task = app.task(name="progress", shared=False)(lambda: None)
    task.push_request(id="p-id")
    task.update_state(state="PROGRESS", meta={"done": 5})
    task.pop_request()
    result = app.AsyncResult("p-id")
    assert (result.state, result.info) == ("PROGRESS", {"done": 5})


# -- models
def test_models_are_validated_and_dumped(app: App, sent: list[Sent]) -> None:
    def run(order: Order, times: int = 1, more: "Order | None" = None) -> Receipt:  # noqa: UP037
        assert isinstance(order, Order)
        return Receipt(total=order.number * times + (more.number if more else 0))

    pay: Any = app.task(name="pay", pydantic=True, shared=False)(run)
    assert pay({"number": 2}, times=3) == {"total": 6}
    assert pay({"number": 2}, more={"number": 1}) == {"total": 3}
    assert pay.apply(({"number": "5"},)).get() == {"total": 5}
    pay.delay(Order(number=4), more=Order(number=1))
    assert sent[0].body[:2] == [[{"number": 4, "note": None}], {"more": {"number": 1, "note": None}}]
    with pytest.raises(ValidationError):
        pay({"number": "x"})


def test_strict_models_and_the_way_they_are_dumped(app: App, sent: list[Sent]) -> None:
    def run(self: Task[..., Any], order: Order) -> Order:
        return order

    options = {"pydantic": True, "pydantic_strict": True, "pydantic_dump_kwargs": {"exclude_none": True}}
    strict: Any = app.task(name="strict", bind=True, shared=False, **options)(run)
    assert strict({"number": 1}) == {"number": 1}
    with pytest.raises(ValidationError):
        strict({"number": "1"})
    strict.delay(Order(number=1))
    assert sent[0].args == [{"number": 1}]


def test_models_need_pydantic(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pydantic", None)
    with pytest.raises(ImproperlyConfigured, match=r"taskyard\[pydantic\]"):
        app.task(pydantic=True)(lambda: None)


def test_retry_says_when() -> None:
    assert str(Retry("own words", KeyError("x"))) == "own words"
    assert Retry(when=3).humanize() == "in 3s"
    assert Retry(exc="as text").excs == "as text"


def test_how_often_a_task_is_retried_is_the_apps_setting_where_the_task_says_nothing() -> None:
    app = App("retries", task_max_retries=7, task_default_retry_delay=5)
    plain = app.task(lambda: None)
    forever = app.task(name="forever", max_retries=None)(lambda: None)
    assert (plain.max_retries, plain.default_retry_delay) == (7, 5)
    assert (forever.max_retries, forever.default_retry_delay) == (None, 5)
    assert (Task.max_retries, Task.default_retry_delay) == (3, 180)
