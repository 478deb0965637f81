"""Signatures as values and as JSON."""

from __future__ import annotations

import json
import pickle
from copy import deepcopy
from typing import Any

import pytest

from taskyard import App
from taskyard.canvas import Signature, group, maybe_signature, signature
from taskyard.message.codec import dump_json


def test_json_is_celerys(app: App) -> None:
    sig = app.tasks["add"].s(1, y=2).set(queue="q", task_id="id")
    assert json.loads(dump_json(sig)) == {
        "task": "add",
        "args": [1],
        "kwargs": {"y": 2},
        "options": {"queue": "q", "task_id": "id"},
        "subtask_type": None,
        "immutable": False,
    }
    assert app.tasks["add"].si(1, 2)["immutable"] is True


def test_what_json_gives_is_the_same_signature(app: App) -> None:
    for sig in (
        app.tasks["add"].s(1, 2),
        app.tasks["a"].s(1) | app.tasks["b"].s(),
        group(app.tasks["a"].s(1), app.tasks["b"].s(2)),
        group(app.tasks["a"].s(1), app.tasks["b"].s(2)) | app.tasks["total"].s(),
        app.tasks["add"].chunks([(1, 2), (3, 4)], 1),
    ):
        read = signature(json.loads(dump_json(sig)), app=app)
        assert type(read).__name__ == ("Signature" if "chunks" in sig.task else type(sig).__name__)
        assert json.loads(dump_json(read)) == json.loads(dump_json(sig))


def test_partial_arguments_come_first(app: App) -> None:
    sig = app.tasks["a"].s(3, z=1)
    assert sig.clone((1, 2), {"y": 2}, queue="q").args == (1, 2, 3)
    assert sig.clone(kwargs={"z": 2}).kwargs == {"z": 2}
    immutable = app.tasks["a"].si(3)
    assert immutable.clone((1,), {"x": 1}, queue="q").args == (3,)
    assert immutable.clone(queue="q").options == {"queue": "q"}


def test_a_clone_shares_nothing_that_links_or_options_change(app: App) -> None:
    sig = app.tasks["a"].s(1).set(headers={"x": 1})
    sig.link(app.tasks["b"].s())
    clone = sig.clone()
    clone.options["headers"]["x"] = 2
    clone.link(app.tasks["c"].s())
    clone.kwargs["new"] = 1
    assert sig.options["headers"] == {"x": 1}
    assert [link["task"] for link in sig.options["link"]] == ["b"]
    assert sig.kwargs == {}


def test_group_membership_and_stamps_are_not_overridden_by_a_later_merge(app: App) -> None:
    sig = app.tasks["a"].s().set(group_id="mine")
    sig.stamp(team="x")
    merged = sig.clone(group_id="other", team="y", queue="q").options
    assert (merged["group_id"], merged["team"], merged["queue"]) == ("mine", "x", "q")


def test_freeze_is_for_ever(app: App) -> None:
    sig = app.tasks["a"].s()
    result = sig.freeze("first", group_id="g", root_id="r", group_index=0)
    assert (result.id, sig.id, sig.root_id) == ("first", "first", "r")
    assert sig.freeze("second").id == "first"
    assert sig.options["reply_to"] == app.thread_oid
    assert sig.options["group_index"] == 0


def test_links_are_lists_without_doubles(app: App) -> None:
    sig = Signature("a", link=Signature("one"), app=app)
    sig.link(Signature("two"))
    sig.link(Signature("two"))
    assert [link["task"] for link in sig.options["link"]] == ["one", "two"]
    assert sig.on_error(Signature("err")) is sig
    assert [each.task for each in sig.flatten_links()] == ["a", "one", "two"]


def test_calling_sending_and_asking(app: App, sent: list[Any]) -> None:
    add = app.tasks["add"]
    assert add.s(2)(1) == 3
    result = add.s(2).delay(1)
    assert sent[0].args == [1, 2]
    assert result.id == sent[0].headers["id"]
    assert add.s(1, 2).apply().get() == 3
    Signature("unknown.task", (1,), app=app).apply_async()
    assert sent[1].task == "unknown.task"


def test_a_signature_is_pickled_without_its_app(app: App) -> None:
    sig = app.tasks["add"].s(1, 2)
    app.set_current()
    assert pickle.loads(pickle.dumps(sig)) == sig
    assert deepcopy(sig) == dict(sig)


def test_repr_is_the_call() -> None:
    assert repr(Signature("proj.add", (1,), {"y": 2})) == "proj.add(1, y=2)"
    chain = Signature("proj.add", (1, 1)) | Signature("proj.mul", (2,)) | Signature("otherproj.x")
    assert repr(chain) == "proj.add(1, 1) | mul(2) | otherproj.x()"


def test_maybe_signature(app: App) -> None:
    sig = app.tasks["a"].s()
    assert maybe_signature(None) is None
    assert maybe_signature(sig) is sig
    assert maybe_signature(sig, clone=True) is not sig
    assert maybe_signature(dict(sig), app=app).app is app


def test_subclasses_are_found_by_their_type() -> None:
    @Signature.register_type("special")
    class Special(Signature):
        pass

    try:
        with pytest.raises(KeyError):
            Signature.from_dict({"task": "x", "subtask_type": "unheard"})

        read = Signature.from_dict({"task": "x", "subtask_type": "special", "options": {}})
    finally:
        del Signature.TYPES["special"]
    assert isinstance(read, Signature)
