"""What Celery's users import from celery.utils; Celery's own tests of it are in tests/conformance."""

from __future__ import annotations

import io
import time
from threading import Thread
from typing import Any

import pytest

from taskyard import platforms
from taskyard.message.saferepr import LIMIT, safe_repr, saferepr
from taskyard.utils import debug, functional, objects, serialization, text
from taskyard.utils.collections import AttributeDict
from taskyard.utils.threads import LocalStack


def test_a_long_list_of_arguments_is_shown_as_celery_shows_it() -> None:
    from celery.utils.saferepr import saferepr as celerys

    for value in (
        list(range(100)),
        {"key": [{"deep": [[1]]}], "text": "it's " * 400},
        ("x" * 5000, b"\xff", {1}),
    ):
        assert safe_repr(value) == celerys(value, LIMIT)
        assert saferepr(value, 100) == celerys(value, 100)


def test_what_blocks_is_interrupted() -> None:
    with pytest.raises(RuntimeError, match="Blocking detection"), debug.blockdetection(0.01):
        time.sleep(60)
    with debug.blockdetection(60):
        pass


def test_memory_and_threads_as_text() -> None:
    out = io.StringIO()
    debug.sample_mem()
    debug.memdump(file=out)
    assert "rss" in out.getvalue()
    assert "LOCAL VARIABLES" in debug.cry()


def test_a_stack_for_each_thread() -> None:
    stack = LocalStack()
    stack.push(1)
    seen: list[Any] = []
    thread = Thread(target=lambda: seen.append(stack.top))
    thread.start()
    thread.join()
    assert (stack.top, seen, stack.pop(), stack.pop()) == (1, [None], 1, None)


class UnfitError(Exception):
    def __init__(self, one: object, two: object) -> None:
        super().__init__(one)


def test_an_exception_that_pickle_cannot_carry_comes_back_by_its_name() -> None:
    wrapped = serialization.get_pickleable_exception(UnfitError(1, 2))
    assert isinstance(wrapped, serialization.UnpickleableExceptionWrapper)
    again = serialization.get_pickled_exception(wrapped)
    assert (type(again).__name__, again.args) == ("UnfitError", (1,))


def test_small_ones() -> None:
    assert list(functional.uniq([1, 2, 1])) == [1, 2]
    assert functional.mattrgetter("real", "none")(1) == {"real": 1, "none": None}
    assert functional.maybe(int, "1") == 1
    assert text.pluralize(2, "task") == "tasks"
    assert text.dedent("    a\n    b") == "a\nb"
    made = AttributeDict(a=1)
    made.b = 2
    assert (made.a, made["b"]) == (1, 2)
    with pytest.raises(AttributeError):
        made.c  # noqa: B018

    class Keyed(dict[str, Any]):
        inner = objects.getitem_property("deep.inner")

    keyed = Keyed(deep={})
    keyed.inner = 1
    assert keyed == {"deep": {"inner": 1}}
    assert objects.mro_lookup(Keyed, "inner") is Keyed


def test_signals_by_their_names() -> None:
    before = platforms.signals["USR2"]
    try:
        platforms.signals.update(USR2=lambda *_: None)
        assert callable(platforms.signals["SIGUSR2"])
        platforms.signals.ignore("USR2")
        assert platforms.signals["USR2"] == platforms.signals.ignored
    finally:
        platforms.signals["USR2"] = before
    assert platforms.signal_name(15) == "TERM"
    with platforms.ignore_errno("ENOENT"):
        open("/no/such/file").close()
    with pytest.raises(FileNotFoundError), platforms.ignore_errno("EPERM"):
        open("/no/such/file").close()
