"""Tracers and programs put functions of their own in the place of ours: then those are called."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from taskyard import App, Task, group
from taskyard.client.amqp import AMQP


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

        options = order.apply_async(queue="orders")
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
