"""ResultSet and GroupResult, as Celery's behave."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from taskyard import App
from taskyard.errors import ImproperlyConfigured, TimeoutError
from taskyard.result import EagerResult, GroupResult, ResultSet

SOON = {"timeout": 0.05, "interval": 0.01}
JOINS = ["join", "join_native", "get"]


@pytest.mark.parametrize("join", JOINS)
def test_values_come_in_order(app: App, done: Any, join: str) -> None:
    results = ResultSet([done(number) for number in range(5)], app=app)
    assert getattr(results, join)(timeout=1) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("join", JOINS)
def test_a_failure_is_raised_or_stands_in_its_place(app: App, done: Any, failed: Any, join: str) -> None:
    results = ResultSet([done(0), failed(KeyError("no")), done(2)], app=app)
    with pytest.raises(KeyError):
        getattr(results, join)(timeout=1)
    values = getattr(results, join)(timeout=1, propagate=False)
    assert (values[0], values[2]) == (0, 2)
    assert isinstance(values[1], KeyError)


@pytest.mark.parametrize("join", JOINS)
def test_time_is_for_all_together(app: App, done: Any, join: str) -> None:
    results = ResultSet([done(0), app.AsyncResult("a"), app.AsyncResult("b")], app=app)
    with pytest.raises(TimeoutError):
        getattr(results, join)(**SOON)


@pytest.mark.parametrize("join", JOINS)
def test_callbacks_get_each(app: App, done: Any, join: str) -> None:
    members = [done(1), done(2)]
    seen: dict[str, Any] = {}
    getattr(ResultSet(members, app=app), join)(callback=seen.__setitem__)
    assert seen == {members[0].id: 1, members[1].id: 2}


@pytest.mark.parametrize("join", JOINS)
def test_groups_within_groups(app: App, done: Any, join: str) -> None:
    inner = GroupResult("inner", [done(2), GroupResult("core", [done(3)], app=app)], app=app)
    outer = GroupResult("outer", [done(1), inner], app=app)
    assert getattr(outer, join)(timeout=1) == [1, [2, [3]]]


def test_eager_members_are_joined_one_by_one(app: App) -> None:
    results = GroupResult("g", [EagerResult("1", 1, "SUCCESS"), EagerResult("2", 2, "SUCCESS")], app=app)
    assert results.get(timeout=1) == [1, 2]


def test_state_of_all(app: App, done: Any, failed: Any) -> None:
    results = ResultSet([done(1), done(2)], app=app)
    assert (results.ready(), results.successful(), results.failed(), results.waiting()) == (
        True,
        True,
        False,
        False,
    )
    results.add(failed(KeyError("no")))
    assert (results.successful(), results.failed(), results.completed_count()) == (False, True, 2)
    with pytest.raises(KeyError):
        results.maybe_throw()
    results.maybe_reraise(propagate=False)
    results.add(app.AsyncResult("late"))
    assert (results.ready(), results.waiting()) == (False, True)


def test_members(app: App) -> None:
    one, two, three = (app.AsyncResult(each) for each in "123")
    results = ResultSet([one], app=app)
    results.add(one)
    results.add(two)
    results.update([two, three])
    assert list(results) == ["1", "2", "3"]
    assert (len(results), results[1]) == (3, two)
    results.remove("2")
    results.discard(two)
    with pytest.raises(KeyError):
        results.remove(two)
    assert results == ResultSet([one, three], app=app)
    assert results != [one, three]
    results.clear()
    assert len(results) == 0
    assert results.get() == []
    assert repr(ResultSet([one, two], app=app)) == "<ResultSet: [1, 2]>"


def test_the_app_is_that_of_the_first(app: App) -> None:
    assert ResultSet([app.AsyncResult("1")]).app is app


def test_forget(app: App, done: Any) -> None:
    member = done(1)
    ResultSet([member], app=app).forget()
    assert member.state == "PENDING"


def test_then_waits_for_all(app: App) -> None:
    members = [app.AsyncResult("a"), app.AsyncResult("b")]
    results = GroupResult("g", members, app=app)
    seen: list[Any] = []
    results.then(lambda group: seen.append(group.id))
    app.backend.mark_as_done("a", 1)
    members[0].get(timeout=1)
    assert seen == []
    app.backend.mark_as_done("b", 2)
    members[1].get(timeout=1)
    assert seen == ["g"]
    results.add(app.AsyncResult("c"))
    results.then(lambda group: seen.append("again"))
    assert seen == ["g"]
    app.backend.mark_as_done("c", 3)
    results[2].get(timeout=1)
    assert seen == ["g", "again"]


def test_on_message_needs_messages(app: App, done: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="on_message"):
        ResultSet([done(1)], app=app).join(on_message=print)


def test_groups_are_saved_restored_and_deleted(app: App) -> None:
    group = GroupResult(
        "g", [app.AsyncResult("1"), GroupResult("h", [app.AsyncResult("2")], app=app)], app=app
    )
    group.save()
    restored = GroupResult.restore("g", app=app)
    assert restored == group
    assert isinstance(restored[1], GroupResult)
    other = App("other", broker="memory://", backend="disabled://")
    other.set_current()
    assert app.GroupResult.restore("g") == group  # its own app, not the current one
    restored.delete()
    assert GroupResult.restore("g", app=app) is None


def test_identity_of_groups(app: App) -> None:
    members = [app.AsyncResult("1")]
    group = GroupResult("g", members, app=app)
    assert group == GroupResult("g", [app.AsyncResult("1")], app=app) == "g"
    assert group != GroupResult("h", members, app=app)
    assert group != GroupResult("g", members, parent=app.AsyncResult("p"), app=app)
    assert hash(group) == hash("g")
    assert str(group) == "g"
    assert repr(group) == "<GroupResult: g [1]>"
    assert bool(group)
    assert bool(GroupResult("", [], app=app)) is False
    assert group.children is group.results
    with_parent = GroupResult("g", members, parent=app.AsyncResult("p"), app=app)
    assert with_parent.as_tuple() == (("g", (("p", None), None)), [(("1", None), None)])
    app.set_current()
    assert pickle.loads(pickle.dumps(group)) == group
