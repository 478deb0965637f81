"""Tracers and programs put functions of their own in the place of ours: then those are called."""

from __future__ import annotations

from typing import Any, ClassVar
from unittest.mock import patch

import pytest
from kombu.exceptions import OperationalError

from taskyard import App, Task, group, signals
from taskyard.client.amqp import AMQP
from taskyard.loaders.app import AppLoader as Loader
from taskyard.signals import after_task_publish


class Stamped(AMQP):
    def as_task_v2(self, *args: Any, **options: Any) -> Any:
        message = super().as_task_v2(*args, **options)
        message.headers["shop"] = "north"
        return message


def test_amqp_of_the_users_own_makes_the_messages() -> None:
    with App("shop", broker="memory://", backend="cache+memory://", amqp=Stamped) as app:

        @app.task(queue="orders")
        def order(number: int) -> None: ...

        assert app.amqp.has_its_own_messages
        result = order.apply_async((1,), priority=3)
        group(order.s(2), order.s(3)).apply_async()
        with app.connection_for_read() as connection:
            queue = connection.SimpleQueue("orders")
            messages = [queue.get(timeout=5) for _ in range(3)]
    assert sorted(message.headers["argsrepr"] for message in messages) == ["(1,)", "(2,)", "(3,)"]
    assert {message.headers["shop"] for message in messages} == {"north"}
    assert result.id in {message.headers["id"] for message in messages}


def test_group_goes_through_apply_async_that_a_tracer_wraps() -> None:
    with App("shop", broker="memory://", backend="cache+memory://") as app:

        @app.task
        def order(number: int) -> None: ...

        seen = []
        original = Task.apply_async

        def traced(self: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            seen.append(args)
            return original(self, args, kwargs, **options)

        with patch.object(Task, "apply_async", traced):
            group(order.s(1), order.s(2)).apply_async()
    assert seen == [(1,), (2,)]


def test_send_task_sees_every_option() -> None:
    class Shop(App):
        def send_task(self, *args: Any, **options: Any) -> Any:
            return options

    with Shop("shop", broker="memory://", backend="cache+memory://") as app:

        @app.task(priority=5)
        def order() -> None: ...

        options: Any = order.apply_async(queue="orders")
    assert (options["priority"], options["queue"], options["routing_key"]) == (5, "orders", None)


@pytest.mark.parametrize("empty", [True, False])
def test_results_of_an_app_are_its_own(empty: bool) -> None:
    with (
        App("shop", broker="memory://", backend="cache+memory://") as app,
        App("other", broker="memory://"),
    ):
        saved = app.GroupResult("group", [] if empty else [app.AsyncResult("a")])
        assert saved.app is app
        saved.save()
        assert app.GroupResult.restore("group").app is app


def test_what_such_an_amqp_publishes_expires_and_is_announced() -> None:
    seen = []

    class Quiet(AMQP):
        def send_task_message(self, *args: Any, **options: Any) -> Any:
            seen.append(options)
            return super().send_task_message(*args, **options)

    with App("shop", broker="memory://", backend="cache+memory://", amqp=Quiet) as app:
        assert app.amqp.has_its_own_messages
        published = []

        def remember(sender: str, routing_key: str, **_: Any) -> None:
            published.append((sender, routing_key))

        after_task_publish.connect(remember)
        try:
            app.send_task("order", queue="orders", expires=60, countdown=1)
        finally:
            after_task_publish.disconnect(remember)
    assert seen[0]["expiration"] == 60
    assert published == [("order", "orders")]


def test_routes_that_are_set_later_hold() -> None:
    with App("shop", broker="memory://") as app:
        assert app.router.route("order", None, None, None, None).queue == "celery"
        app.conf.update(task_routes={"order": "orders"})
        assert app.router.route("order", None, None, None, None).queue == "orders"
        assert app.amqp.router.route({}, "order")["queue"].name == "orders"
        app.conf.task_routes = None
        assert app.amqp.router.route({}, "order")["queue"].name == "celery"


def test_router_of_the_call_decides() -> None:
    with App("shop", broker="memory://") as app:
        router = app.amqp.Router()
        router.routes = [lambda name, *args, **more: "returns"]
        app.send_task("order", router=router)
        with app.connection_for_read() as connection:
            assert connection.SimpleQueue("returns").get(timeout=5).headers["task"] == "order"


def test_exhausted_pool_is_a_missing_broker() -> None:
    with (
        App("shop", broker="memory://", broker_pool_limit=1, broker_pool_acquire_timeout=0.01) as app,
        app.producer_or_acquire(),
        pytest.raises(OperationalError, match="broker_pool_limit"),
    ):
        app.producer_or_acquire().__enter__()


def test_strategy_of_failover_holds_for_connections_of_the_app() -> None:
    with App("shop", broker="memory://;memory://", broker_failover_strategy="shuffle") as app:
        connection = app.connection()
        assert connection.failover_strategy is connection.failover_strategies["shuffle"]


class Imports(Loader):
    pass


@pytest.mark.parametrize("loader", [Imports, f"{__name__}:Imports"])
def test_loader_of_the_users_own(loader: Any) -> None:
    with App("shop", broker="memory://", loader=loader) as app:
        assert type(app.loader).__name__ == "Imports"
    with App("shop", broker="memory://", loader="app") as app:
        assert type(app.loader) is Loader


class Telling(Loader):
    told: ClassVar[list[str]] = []

    def read_configuration(self, env: str = "") -> Any:
        return {"task_default_queue": "of the loader"}

    def on_worker_init(self) -> None:
        self.told.append("worker")

    def on_task_init(self, task_id: str, task: Any) -> None:
        self.told.append(f"task {task_id} {task.name}")

    def on_process_cleanup(self) -> None:
        self.told.append("cleanup")


def test_a_loader_configures_and_is_told() -> None:
    app = App("told", broker="memory://", backend="memory://", loader=Telling, set_as_current=False)
    names = ("on_worker_init", "on_task_init", "on_process_cleanup")
    watched = dict(zip(names, (signals.worker_init, signals.task_prerun, signals.task_postrun), strict=True))
    try:
        assert app.conf.task_default_queue == "of the loader"
        app.task(name="t", shared=False)(lambda: None).apply(task_id="i")
        signals.worker_init.send(sender=None)
        assert Telling.told == ["task i t", "cleanup", "worker"]
    finally:
        for name, signal in watched.items():
            signal.disconnect(dispatch_uid=f"loader {name} {id(app)}")
