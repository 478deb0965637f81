"""Canvases from end to end, with our worker."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from taskyard.canvas import Signature, chain, chord, group
from taskyard.result import AsyncResult, GroupResult
from tests.integration.canvas.conftest import WAIT, client_of
from tests.integration.worker.harness import wait_until

pytestmark = pytest.mark.redis


@pytest.fixture
def s(own: str) -> Any:
    """Makes signatures by name."""
    app = client_of(own)
    return lambda name, *args, **kwargs: Signature(name, args, kwargs, app=app)


def test_everything_in_everything(s: Any) -> None:
    def pair() -> Any:
        return group(s("add", 1), s("add", 2))

    canvases: list[tuple[Any, Any]] = [
        (s("add", 1, 2) | s("add", 3) | s("add", 4), 10),
        (group(s("add", 1, 1), group(s("add", 2, 2), s("add", 3, 3))), [2, 4, 6]),
        (s("add", 1, 1) | pair(), [3, 4]),
        (s("add", 1, 1) | pair() | s("total"), 7),
        (s("add", 1, 1) | pair() | s("total") | s("add", 1), 8),
        (s("add", 1, 1) | pair() | s("total") | pair() | s("total"), 17),
        (chord([s("add", 1, 1), s("add", 2, 2) | s("add", 1)], s("total")), 7),
        (chord([s("add", 1, 1), group(s("add", 2, 2), s("add", 3, 3))], s("total")), 12),
        (chord([s("add", 1, 1), chord([s("add", 2, 2), s("add", 3, 3)], s("total"))], s("total")), 12),
        (chord([s("add", 1, 1)], s("total") | s("add", 5)), 7),
        (chord([], s("total")), 0),
        (chord((s("add", number, 1) for number in range(5)), s("total")), 15),
        (chord([s("add", 1, 1) | pair(), s("add", 4, 4)], s("total")), 15),
        (chord([s("add", 1, 1), s("add", 2, 2)], pair().clone()), TypeError),
        (s("twice", 4), 8),
        (s("twice", 4) | s("add", 1), 9),
        (s("both", 4), [5, 8]),
        (s("both", 4) | s("total"), 13),
        (chord([s("twice", 1), s("both", 2), s("add", 1, 1)], s("total")), 11),
    ]
    results = [canvas.apply_async() for canvas, _ in canvases]
    for (canvas, expected), result in zip(canvases, results, strict=True):
        if isinstance(expected, type):
            with pytest.raises(expected):
                result.get(timeout=WAIT)
        else:
            assert result.get(timeout=WAIT) == expected, canvas


def has_failed(result: Any) -> bool:
    return bool(result.state == "FAILURE")


def test_failures_reach_all_that_waits(s: Any) -> None:
    failing = s("add", 1, 1) | s("fail") | s("add", 1)
    in_header = chord([s("add", 1, 1), s("fail")], s("total") | s("add", 1))
    in_inner = chord([s("add", 1, 1), chord([s("fail"), s("add", 1, 2)], s("total"))], s("total"))
    results = [canvas.apply_async() for canvas in (failing, in_header, in_inner)]
    for result in results:
        with pytest.raises(Exception, match="as wanted"):
            result.get(timeout=WAIT)
        # What failed before it is reported first.
        wait_until(partial(has_failed, result), what="the failure of what follows")
    assert results[0].parent.state == "FAILURE"
    assert results[0].parent.parent.get(timeout=WAIT) == 2


def test_error_links_of_a_chord_are_called(s: Any, own: str) -> None:
    body = s("total").on_error(s("note"))
    result = chord([s("add", 1, 1), s("fail")], body).apply_async()
    with pytest.raises(Exception, match="as wanted"):
        result.get(timeout=WAIT)
    wait_until(partial(has_failed, result), what="the body's failure")
    (called,) = result.children
    assert isinstance(called, GroupResult)
    assert called.get(timeout=WAIT) == [f"failed: {result.id}"]


def test_an_error_link_of_both_a_chord_and_the_one_around_it_is_called_once(s: Any) -> None:
    inner = chord([s("add", 1, 1), s("fail")], s("total"))
    outer = chord([s("add", 1, 1), inner], s("total"))
    with pytest.warns(PendingDeprecationWarning):
        outer.link_error(s("note"))
    only_outer = chord(
        [s("add", 1, 1), chord([s("fail"), s("fail")], s("total"))], s("total").on_error(s("note"))
    )
    results = [outer.apply_async(), only_outer.apply_async()]
    for result in results:
        wait_until(partial(has_failed, result), what="the outer chord's failure")
    # A body's failure has the children of the task that brought it about; which of them is the last to end
    # is open.
    ends = [result.parent.results[1] for result in results]
    called = {child.id: child for end in (*ends, *results) for child in end.children}
    assert sorted(each.get(timeout=WAIT) for each in called.values()) == sorted(
        [[f"failed: {inner_id(results[0])}"], [f"failed: {results[1].id}"]]
    )


def inner_id(result: Any) -> str:
    """The id of the body of the chord in the header."""
    return str(result.parent.results[1].id)


def test_children_and_parents(s: Any) -> None:
    result = (s("add", 1, 1) | group(s("add", 1), s("add", 2))).apply_async()
    assert result.get(timeout=WAIT) == [3, 4]
    first = result.parent
    assert isinstance(first, AsyncResult)
    assert first.get(timeout=WAIT) == 2
    children: Any = first.children
    (child,) = children
    assert isinstance(child, GroupResult)
    assert sorted(each.id for each in child) == sorted(each.id for each in result)


def test_stamps_travel_with_the_canvas(s: Any) -> None:
    canvas = chain(s("stamps"), s("stamps"))
    canvas.stamp(team="x")
    result = canvas.apply_async()
    assert result.get(timeout=WAIT) == {"team": "x"}
    assert result.parent.get(timeout=WAIT) == {"team": "x"}


def test_maps_and_chunks(s: Any, own: str) -> None:
    from taskyard.canvas import chunks, xmap, xstarmap

    app = client_of(own)
    add, total = s("add"), s("total")
    assert xstarmap(add, [(1, 2), (3, 4)], app=app).apply_async().get(timeout=WAIT) == [3, 7]
    assert xmap(total, [[1, 2], [3]], app=app).apply_async().get(timeout=WAIT) == [3, 3]
    assert chunks(add, [(1, 1), (2, 2), (3, 3)], 2, app=app).apply_async().get(timeout=WAIT) == [[2, 4], [6]]
