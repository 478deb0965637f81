"""AsyncResult and EagerResult, as Celery's behave."""

from __future__ import annotations

import asyncio
import copy
import pickle
from datetime import datetime
from io import StringIO
from typing import Any

import pytest

from taskyard import App
from taskyard.context import Request, current
from taskyard.errors import IncompleteStream, TaskRevokedError, TimeoutError
from taskyard.result import (
    AsyncResult,
    EagerResult,
    GroupResult,
    ResultBase,
    allow_join_result,
    denied_join_result,
    result_from_tuple,
)

SOON = {"timeout": 0.05, "interval": 0.01}


def test_a_success(app: App, done: Any) -> None:
    result = done([1, {"a": None}])
    assert result.get(timeout=1) == [1, {"a": None}]
    assert (result.state, result.status, result.result, result.info) == (
        "SUCCESS",
        "SUCCESS",
        [1, {"a": None}],
        [1, {"a": None}],
    )
    assert (result.ready(), result.successful(), result.failed(), result.exists()) == (
        True,
        True,
        False,
        True,
    )
    assert isinstance(result.date_done, datetime)
    assert result.date_done.utcoffset() is not None
    assert result.maybe_throw() == [1, {"a": None}]


def test_a_failure(failed: Any) -> None:
    result = failed(KeyError("no", 3))
    for wait in (result.get, result.wait):
        with pytest.raises(KeyError) as caught:
            wait(timeout=1)
        assert caught.value.args == ("no", 3)
    assert isinstance(result.get(timeout=1, propagate=False), KeyError)
    assert (result.failed(), result.successful(), result.traceback) == (True, False, "Traceback")
    with pytest.raises(KeyError):
        result.maybe_reraise()


def test_what_is_not_there_is_pending(app: App) -> None:
    result = app.AsyncResult("unknown")
    assert (result.state, result.result, result.ready(), result.exists()) == ("PENDING", None, False, False)
    assert result.children is None
    assert result.date_done is None
    with pytest.raises(TimeoutError):
        result.get(**SOON)
    with pytest.raises(result.TimeoutError):
        result.get(timeout=0)


def test_an_id_is_needed(app: App) -> None:
    with pytest.raises(ValueError, match="id"):
        AsyncResult(None, app=app)  # type: ignore[arg-type]


def test_callbacks_get_id_and_value(done: Any) -> None:
    seen: list[Any] = []
    result = done(4)
    result.get(callback=lambda *args: seen.append(args))
    result.get(callback=lambda *args: seen.append(args))
    assert seen == [(result.id, 4)] * 2


def test_on_interval_is_called_while_waiting(app: App) -> None:
    result = app.AsyncResult("late")
    calls: list[int] = []

    def on_interval() -> None:
        calls.append(1)
        if len(calls) == 3:
            app.backend.mark_as_done("late", "here")

    assert result.get(timeout=30, interval=0.001, on_interval=on_interval) == "here"
    assert len(calls) == 3


def test_a_parent_s_failure_is_raised_at_once(app: App, failed: Any, done: Any) -> None:
    result = app.AsyncResult("never", parent=failed(ValueError("parent")))
    with pytest.raises(ValueError, match="parent"):
        result.get(timeout=30)
    with pytest.raises(TimeoutError):
        result.get(follow_parents=False, **SOON)
    grandchild = app.AsyncResult("never", parent=app.AsyncResult("too", parent=failed(ValueError("old"))))
    with pytest.raises(ValueError, match="old"):
        grandchild.get(timeout=30)
    assert done(1, parent=done(0)).get(timeout=1) == 1


def test_results_of_tasks_that_ignore_theirs(app: App) -> None:
    result = app.AsyncResult("ignored")
    result.ignored = True
    assert result.get() is None


def test_then_calls_back_with_the_result(app: App, done: Any) -> None:
    seen: list[Any] = []
    known = done(1)
    known.get()
    known.then(seen.append)
    assert seen == [known]
    later = app.AsyncResult("later")
    later.then(seen.append)
    assert seen == [known]
    app.backend.mark_as_done("later", 2)
    later.get(timeout=1)
    assert seen == [known, later]


def test_forget_removes_it_and_its_parents(app: App, done: Any) -> None:
    parent = done(1)
    result = done(2, parent=parent)
    result.get()
    result.forget()
    assert (result.state, parent.state) == ("PENDING", "PENDING")


def test_identity(app: App) -> None:
    one, same, other = app.AsyncResult("1"), app.AsyncResult("1"), app.AsyncResult("2")
    assert one == same == "1"
    assert one != other
    assert one != 1
    assert len({one, same, other}) == 2
    assert (str(one), one.task_id) == ("1", "1")
    assert repr(one) == "<AsyncResult: 1>"
    assert isinstance(one, ResultBase)
    assert copy.copy(one) == one


def test_pickling_leaves_app_and_store_here(app: App) -> None:
    app.set_current()
    result = pickle.loads(pickle.dumps(app.AsyncResult("1", parent=app.AsyncResult("0"))))
    assert result == "1"
    assert result.parent == "0"
    assert result.app.main == app.main


def test_tuples(app: App) -> None:
    parent = app.AsyncResult("0")
    result = app.AsyncResult("1", parent=parent)
    assert result.as_tuple() == (("1", (("0", None), None)), None)
    assert result.as_list() == ["1", "0"]
    again = result_from_tuple([["1", [["0", None], None]], None], app=app)
    assert (again, again.parent) == (result, parent)
    group = result_from_tuple([["g", None], [[["1", None], None], [["2", None], None]]], app=app)
    assert isinstance(group, GroupResult)
    assert [each.id for each in group] == ["1", "2"]
    assert result_from_tuple(["1", None], app=app) == result
    assert result_from_tuple(group, app=app) is group


def tree(app: App) -> Any:
    """root -> (left -> leaf, right), each with a value of its own."""
    children = {"root": ["left", "right"], "left": ["leaf"], "right": [], "leaf": []}
    for name, below in children.items():
        request = Request({"id": name}, called_directly=False)
        request.children.extend(app.AsyncResult(each) for each in below)
        app.backend.mark_as_done(name, name.upper(), request=request)
    return app.AsyncResult("root")


def test_the_tree_of_tasks(app: App) -> None:
    root = tree(app)
    assert root.children == ["left", "right"]
    assert [(parent, node) for parent, node in root.iterdeps()] == [
        (None, "root"),
        ("root", "left"),
        ("root", "right"),
        ("left", "leaf"),
    ]
    assert list(root.collect()) == [
        ("root", "ROOT"),
        ("left", "LEFT"),
        ("right", "RIGHT"),
        ("leaf", "LEAF"),
    ]
    assert root.get_leaf() == "LEAF"
    assert root.graph["root"] == ["left", "right"]
    dot = StringIO()
    root.graph.to_dot(dot)
    assert '"left" -> "leaf"' in dot.getvalue()
    app.backend.forget("leaf")
    fresh = app.AsyncResult("root")
    with pytest.raises(IncompleteStream):
        list(fresh.iterdeps())
    assert len(list(fresh.iterdeps(intermediate=True))) == 4


def test_waiting_inside_a_task_is_refused(app: App, done: Any) -> None:
    result = done(1)
    token = current.set((None, Request({"id": "1", "task": "t"}, called_directly=False)))
    try:
        with pytest.raises(RuntimeError, match="within a task"):
            result.get(timeout=1)
        with pytest.raises(RuntimeError, match="within a task"):
            GroupResult("g", [result], app=app).get(timeout=1)
        assert result.get(timeout=1, disable_sync_subtasks=False) == 1
        with allow_join_result():
            assert result.get(timeout=1) == 1
            with denied_join_result(), pytest.raises(RuntimeError):
                result.get(timeout=1)
    finally:
        current.reset(token)
    assert result.get(timeout=1) == 1


def test_revoke_goes_through_the_app_s_control(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Control:
        def revoke(self, *args: Any, **options: Any) -> None:
            calls.append((args, options))

    monkeypatch.setitem(app.__dict__, "control", Control())
    app.AsyncResult("1").revoke(terminate=True, signal="SIGKILL", wait=True, timeout=3)
    GroupResult("g", [app.AsyncResult("1"), app.AsyncResult("2")], app=app).revoke()
    assert calls[0][0] == ("1",)
    assert calls[0][1]["terminate"] is True
    assert (calls[0][1]["signal"], calls[0][1]["reply"], calls[0][1]["timeout"]) == ("SIGKILL", True, 3)
    assert calls[1][0] == (["1", "2"],)


def test_coroutines_await_results(app: App, done: Any, failed: Any) -> None:
    async def work() -> None:
        assert await done(3) == 3
        with pytest.raises(KeyError):
            await failed(KeyError("no"))
        assert isinstance(await failed(KeyError("no")).aget(propagate=False), KeyError)
        with pytest.raises(TimeoutError):
            await app.AsyncResult("never").aget(**SOON)
        with pytest.raises(ValueError, match="parent"):
            await app.AsyncResult("never", parent=failed(ValueError("parent"))).aget(timeout=30)
        late = [app.AsyncResult(f"late{number}") for number in range(3)]
        waiting = asyncio.gather(*(result.aget(timeout=30, interval=0.01) for result in late))
        await asyncio.sleep(0.02)
        for number, result in enumerate(late):
            app.backend.mark_as_done(result.id, number)
        assert await waiting == [0, 1, 2]
        assert await GroupResult("g", [done(1), GroupResult("h", [done(2)], app=app)], app=app) == [1, [2]]

    asyncio.run(work())


class TestEager:
    def test_a_success(self) -> None:
        result = EagerResult("1", 5, "SUCCESS", name="t")
        assert (result.get(), result.wait(), result.result, result.state) == (5, 5, 5, "SUCCESS")
        assert (result.ready(), result.exists(), result.name) == (True, True, "t")
        assert result.supports_native_join is False
        assert asyncio.run(result.aget()) == 5
        result.forget()
        assert repr(result) == "<EagerResult: 1>"

    def test_a_failure(self) -> None:
        result = EagerResult("1", KeyError("no"), "FAILURE", traceback="text")
        with pytest.raises(KeyError):
            result.get()
        assert isinstance(result.get(propagate=False), KeyError)
        assert result.traceback == "text"
        assert EagerResult("1", "again", "RETRY").get() is None

    def test_revoked(self) -> None:
        result = EagerResult("1", 5, "SUCCESS", traceback="text")
        result.revoke()
        assert (result.state, result.traceback) == ("REVOKED", None)
        with pytest.raises(TaskRevokedError, match="revoked"):
            result.get()

    def test_it_calls_back_at_once_and_can_be_copied(self) -> None:
        result = EagerResult("1", 5, "SUCCESS", name="t")
        seen: list[Any] = []
        result.then(seen.append)
        assert seen == [result]
        for again in (copy.copy(result), pickle.loads(pickle.dumps(result))):
            assert (again.id, again.get(), again.name) == ("1", 5, "t")


def test_a_task_can_be_asked_to_stop(app: App) -> None:
    from taskyard.contrib.abortable import AbortableAsyncResult, AbortableTask

    steps: list[int] = []

    @app.task(bind=True, base=AbortableTask)
    def walk(self: Any) -> str:
        for step in range(10):
            if self.is_aborted():
                return "stopped"
            steps.append(step)
            if step == 2:
                self.AsyncResult("walk").abort()
        return "arrived"

    result = walk.AsyncResult("walk")
    assert isinstance(result, AbortableAsyncResult)
    assert result.is_aborted() is False
    token = current.set((walk, Request({"id": "walk", "task": walk.name}, called_directly=False)))
    try:
        assert walk.run() == "stopped"
    finally:
        current.reset(token)
    assert steps == [0, 1, 2]
    assert app.AsyncResult("walk").state == "ABORTED"
