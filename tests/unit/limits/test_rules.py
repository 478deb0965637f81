"""Keys of rules, and what is refused when a task is defined."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from taskyard import App
from taskyard.errors import ImproperlyConfigured
from taskyard.limits import Concurrency, Lock, Once, Rate
from taskyard.limits.rules import key_of
from taskyard.limits.store import limits_url, open_store


def pay(order: int, currency: str = "EUR", *parts: int, note: str = "") -> None: ...


SIGNATURE = inspect.signature(pay)


@pytest.mark.parametrize(
    ("rule", "args", "kwargs", "key"),
    [
        (Lock("order:{order}"), (7,), {}, "order:7"),
        (Lock("order:{order}"), (), {"order": 7}, "order:7"),
        (Rate(5, key="{currency}"), (7,), {}, "EUR"),
        (Rate(5), (7,), {}, "shop.pay"),
        (Concurrency(2, key=lambda order, *rest, **more: f"{order % 2}"), (7,), {}, "1"),
        (Once("{order}"), (7,), {}, "shop.pay:7"),
        (Once(), (7,), {}, 'shop.pay:[[7, "EUR"], {"note": ""}]'),
    ],
)
def test_a_key_comes_from_the_arguments(rule: Any, args: Any, kwargs: Any, key: str) -> None:
    found = key_of(rule, "shop.pay", SIGNATURE, args, kwargs)
    assert found == key or len(found) == 64 == len(key_of(rule, "shop.pay", SIGNATURE, args, kwargs))


def test_once_without_a_key_sees_how_arguments_are_meant_and_not_how_they_are_given() -> None:
    keys = {
        key_of(Once(), "t", SIGNATURE, args, kwargs)
        for args, kwargs in [((1,), {}), ((), {"order": 1}), ((1, "EUR"), {}), ((1,), {"note": ""})]
    }
    assert len(keys) == 1
    assert key_of(Once(), "t", SIGNATURE, (2,), {}) not in keys
    assert key_of(Once(), "other", SIGNATURE, (1,), {}) not in keys


@pytest.mark.parametrize("text", ["x" * 1000, "new\nline", "brace}"])
def test_long_and_odd_keys_are_digested(text: str) -> None:
    assert len(key_of(Lock("{order}"), "t", SIGNATURE, (text,), {})) == 64


def test_a_key_that_names_no_argument_is_refused_when_the_task_is_defined() -> None:
    app = App("unit", broker="memory://")
    with pytest.raises(ImproperlyConfigured, match="names 'ordr'; the task's arguments are order"):

        @app.task(limits=[Lock("{ordr}")])
        def task(order: int) -> None: ...

    with pytest.raises(ImproperlyConfigured, match="names 'tenant'; the task's arguments are order"):

        @app.task(limits=[Concurrency(2, share="{tenant}")])
        def shared(order: int) -> None: ...

    with pytest.raises(ImproperlyConfigured, match="takes Once, Lock"):

        @app.task(limits=["once"])
        def other(order: int) -> None: ...


@pytest.mark.parametrize("make", [lambda: Concurrency(0), lambda: Rate(0), lambda: Rate(1, burst=0)])
def test_impossible_limits_are_refused(make: Any) -> None:
    with pytest.raises(ImproperlyConfigured):
        make()


def test_where_limits_are_kept() -> None:
    assert limits_url(App("a", broker="redis://r/3").conf) == "redis://r/3"
    assert limits_url(App("a", broker="amqp://r//", backend="redis://r/4").conf) == "redis://r/4"
    with pytest.raises(ImproperlyConfigured, match="set limits_url"):
        limits_url(App("a", broker="amqp://r//").conf)
    with pytest.raises(ImproperlyConfigured, match="limits cannot be kept in mongodb"):
        open_store("mongodb://x")
