"""Stamps and the visitors that give them."""

from __future__ import annotations

from typing import Any

from taskyard import App
from taskyard.canvas import Signature, StampingVisitor, chord, group
from taskyard.canvas.stamping import merge_stamps


class Numbered(StampingVisitor):
    """Stamps each task with its number in the order of the visit."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_signature(self, sig: Signature, **headers: Any) -> dict[str, Any]:
        self.seen.append(sig.task)
        return {"number": len(self.seen), "task_was": sig.task, "stamped_headers": ["number"]}

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        return {"in_group": True}

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        return {"in_chain": True}

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
        return {"is_body": True}

    def on_callback(self, callback: Signature, **header: Any) -> dict[str, Any]:
        return {"is_link": True}

    def on_errback(self, errback: Signature, **header: Any) -> dict[str, Any]:
        return {"is_error_link": True}


def stamps(sig: Any) -> dict[str, Any]:
    options = sig["options"]
    return {name: options[name] for name in options["stamped_headers"] if name in options}


def test_stamps_are_headers(app: App, sent: list[Any]) -> None:
    sig = app.tasks["a"].s()
    sig.stamp(team="x", number=1)
    sig.apply_async()
    headers = sent[0].headers
    assert sorted(headers["stamped_headers"]) == ["number", "team"]
    assert headers["stamps"] == {"team": "x", "number": 1}


def test_every_task_of_a_canvas_is_visited(app: App) -> None:
    a, b, c, d = (app.tasks[name].s() for name in "abcd")
    a.link(d)
    b.link_error(Signature("err", app=app))
    visitor = Numbered()
    canvas = chord([a, b], c)
    canvas.stamp(visitor)
    assert visitor.seen == ["d", "a", "err", "b", "c"]
    header_a, header_b = canvas.tasks.tasks
    assert stamps(header_a) == {"number": 2, "in_group": True}
    assert stamps(header_a.options["link"][0]) == {"number": 1, "in_group": True, "is_link": True}
    assert stamps(header_b.options["link_error"][0])["is_error_link"] is True
    assert stamps(canvas.body) == {"number": 5, "in_group": True, "is_body": True}


def test_chains_and_groups(app: App) -> None:
    a, b, c = (app.tasks[name].s() for name in "abc")
    canvas: Any = a | group(b, c)
    canvas.stamp(Numbered())
    first, last = canvas.tasks
    assert stamps(first) == {"number": 1, "in_chain": True}
    assert [stamps(task) for task in last.tasks] == [
        {"number": 2, "in_chain": True, "in_group": True},
        {"number": 3, "in_chain": True, "in_group": True},
    ]


def test_a_generators_tasks_are_stamped_when_they_come(app: App) -> None:
    canvas = group(app.tasks["a"].s(number) for number in range(3))
    canvas.stamp(team="x")
    assert [stamps(task) for task in canvas.tasks] == [{"team": "x"}] * 3


def test_a_second_stamp_of_a_name(app: App) -> None:
    sig = app.tasks["a"].s()
    sig.stamp(team="x")
    sig.stamp(team="y")
    assert stamps(sig) == {"team": "y"}
    sig.stamp(append_stamps=True, team="z")
    assert sorted(stamps(sig)["team"]) == ["y", "z"]


def test_what_is_merged_stays_the_callers_own() -> None:
    mine = {"a": [1], "b": {"c": 1}}
    into: dict[str, Any] = dict(mine)
    merge_stamps(into, {"a": [2], "b": {"c": 2, "d": 3}, "e": 5})
    assert into == {"a": [1, 2], "b": {"c": [1, 2], "d": 3}, "e": 5}
    assert mine["a"] == [1]
    merge_stamps(into, {"e": 6}, append=False)
    assert into["e"] == 5
