"""What `|` makes of what."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard import App
from taskyard.canvas import Signature, _chain, chain, chord, group


def shape(sig: Any) -> Any:
    """A canvas as nested tuples of task names."""
    if isinstance(sig, _chain):
        return tuple(shape(task) for task in sig.tasks)
    if isinstance(sig, group):
        return [shape(task) for task in sig.tasks]
    if isinstance(sig, chord):
        return {"header": [shape(task) for task in sig.tasks], "body": shape(sig.body)}
    return sig.task


def s(name: str) -> Signature:
    return Signature(name)


def test_chains_are_spliced() -> None:
    assert shape(s("a") | s("b") | s("c")) == ("a", "b", "c")
    assert shape((s("a") | s("b")) | (s("c") | s("d"))) == ("a", "b", "c", "d")
    assert shape(s("a") | (s("b") | s("c"))) == ("a", "b", "c")


def test_a_group_with_something_after_it_is_a_chord() -> None:
    assert shape(group(s("a"), s("b")) | s("c")) == {"header": ["a", "b"], "body": "c"}
    assert shape(s("x") | group(s("a"), s("b")) | s("c")) == ("x", {"header": ["a", "b"], "body": "c"})


def test_what_follows_a_chord_joins_its_body() -> None:
    one = chord([s("a"), s("b")], s("c"))
    assert shape(one | s("d")) == {"header": ["a", "b"], "body": ("c", "d")}
    assert shape(one) == {"header": ["a", "b"], "body": "c"}
    assert shape(s("x") | one | s("d")) == ("x", {"header": ["a", "b"], "body": ("c", "d")})
    two = s("x") | group(s("a"), s("b")) | group(s("c"), s("d")) | s("e")
    # The first group becomes a chord, with the second as its body, when the chain is sent.
    assert shape(two) == ("x", ["a", "b"], {"header": ["c", "d"], "body": "e"})


def test_groups_of_one_and_of_none() -> None:
    assert shape(s("a") | group([s("b")])) == ("a", "b")
    assert shape(s("a") | s("b") | group([])) == ("a", "b")
    some = group(s("a"), s("b"))
    assert (some | group([])) is some


def test_a_chain_of_a_list_is_the_same_as_with_the_operator() -> None:
    tasks = [s("x"), group(s("a"), s("b")), s("c"), s("d")]
    assert shape(chain(tasks)) == shape(tasks[0] | tasks[1] | tasks[2] | tasks[3])
    assert shape(chain(s(name) for name in "ab")) == ("a", "b")
    assert isinstance(chain(group(s("a"), s("b")), s("c")), chord)


def test_links_of_a_chain_go_to_its_end_and_error_links_to_all() -> None:
    inner = s("a") | s("b")
    inner.link(s("done"))
    inner.link_error(s("failed"))
    outer = inner | s("c")
    links = [[link["task"] for link in task.options.get("link", ())] for task in outer.tasks]
    errors = [[link["task"] for link in task.options.get("link_error", ())] for task in outer.tasks]
    assert links == [[], ["done"], []]
    assert errors == [["failed"], ["failed"], []]


def test_only_signatures_are_combined() -> None:
    with pytest.raises(TypeError):
        s("a") | 1
    with pytest.raises(TypeError):
        chain(s("a"), "b")


canvases = st.recursive(
    st.sampled_from("abc").map(lambda name: ("task", name)),
    lambda inner: st.one_of(
        st.tuples(st.just("group"), st.lists(inner, max_size=3)),
        st.tuples(st.just("chain"), st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=6,
)


def build(plan: Any) -> Any:
    kind, inner = plan
    if kind == "task":
        return s(inner)
    parts = [build(each) for each in inner]
    return group(parts) if kind == "group" else _chain(parts)


@given(plan=st.lists(canvases, min_size=2, max_size=4))
def test_folding_is_the_same_as_combining_one_by_one(plan: list[Any]) -> None:
    one_by_one: Any = _chain()
    for part in plan:
        one_by_one = one_by_one | build(part)
    assert shape(chain([build(part) for part in plan])) == shape(one_by_one)


@given(plan=canvases)
def test_a_canvas_survives_json(plan: Any) -> None:
    import json

    canvas = build(plan)
    read = Signature.from_dict(json.loads(json.dumps(canvas)))
    assert shape(read) == shape(canvas)


def test_names_are_said_once(app: App) -> None:
    assert repr(group(s("p.a"), s("p.b")) | s("p.c")) == "%p.c((a(), b()))"
