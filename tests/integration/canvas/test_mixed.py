"""Headers and bodies on Celery's workers and ours, sent by Celery's client and ours."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import celery.canvas
import pytest

import taskyard.canvas
from tests.integration.canvas.conftest import WAIT, celery_client_of, client_of

pytestmark = pytest.mark.redis


@pytest.fixture(autouse=True)
def no_result_outlives_the_server() -> Iterator[None]:
    """Celery's results unsubscribe when they are collected, and wait long for a server that has ended."""
    yield
    gc.collect()


@pytest.mark.parametrize(
    ("canvas", "client_for"),
    [
        pytest.param(taskyard.canvas, client_of, id="our client"),
        pytest.param(celery.canvas, celery_client_of, id="Celery's client"),
    ],
)
def test_both_kinds_of_workers_share_a_canvas(
    mixed: str, canvas: Any, client_for: Callable[[str], Any]
) -> None:
    app = client_for(mixed)

    def s(name: str, queue: str, *args: Any) -> Any:
        return canvas.Signature(name, args, app=app).set(queue=queue)

    def header(first: str, second: str) -> list[Any]:
        return [s("add", first, 1, 1), s("add", second, 2, 2), s("add", first, 3, 3)]

    ours, theirs = "ours", "theirs"
    sums = [
        canvas.chord(header(one, other), s("total", body)).apply_async()
        for one, other in ((ours, theirs), (theirs, ours), (ours, ours), (theirs, theirs))
        for body in (ours, theirs)
    ]
    chain = (s("who", ours) | s("who", theirs) | s("who", ours)).apply_async()
    nested = canvas.chord(
        [canvas.chord(header(ours, theirs), s("total", theirs)), s("add", theirs, 1, 1)], s("total", ours)
    ).apply_async()
    replaced = [
        canvas.chord([s("both", one, 4), s("add", other, 1, 1)], s("total", other)).apply_async()
        for one, other in ((ours, theirs), (theirs, ours))
    ]
    failing = [
        canvas.chord([s("fail", one), s("add", other, 1, 1)], s("total", other)).apply_async()
        for one, other in ((ours, theirs), (theirs, ours))
    ]
    assert [result.get(timeout=WAIT) for result in sums] == [12] * 8
    assert chain.get(timeout=WAIT) == [[["taskyard"], "celery"], "taskyard"]
    assert nested.get(timeout=WAIT) == 14
    assert [result.get(timeout=WAIT) for result in replaced] == [15, 15]
    for result in failing:
        with pytest.raises(Exception, match="as wanted"):
            result.get(timeout=WAIT)
