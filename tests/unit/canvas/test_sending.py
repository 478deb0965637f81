"""The messages that chains, groups, chords and maps become, and the results that callers get."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskyard import App
from taskyard.canvas import Signature, _chain, chain, chord, group
from taskyard.canvas.lazy_list import LazyList
from taskyard.result import AsyncResult, GroupResult


@pytest.fixture
def sizes(app: App, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Chord sizes as the store is told them."""
    told: dict[str, int] = {}
    monkeypatch.setattr(type(app.backend), "set_chord_size", lambda self, gid, size: told.update({gid: size}))
    monkeypatch.setattr(type(app.backend), "apply_chord", lambda self, *args, **options: None)
    return told


def tasks(app: App, names: str) -> list[Signature]:
    return [app.tasks[name].s() for name in names]


def test_a_chain_is_one_message_with_the_rest_reversed(app: App, sent: list[Any]) -> None:
    a, b, c = tasks(app, "abc")
    result = (a | b | c).apply_async((1,))
    (message,) = sent
    assert (message.task, message.args) == ("a", [1])
    assert [step["task"] for step in message.embed["chain"]] == ["c", "b"]
    assert message.embed["chain"][0]["options"]["task_id"] == result.id
    assert result.parent.id == message.embed["chain"][1]["options"]["task_id"]
    assert result.parent.parent.id == message.headers["id"]


def test_links_of_a_chain_are_at_its_end(app: App, sent: list[Any]) -> None:
    a, b, done, failed = tasks(app, "abcd")
    (a | b).apply_async(link=done, link_error=failed, task_id="last")
    (message,) = sent
    (step,) = message.embed["chain"]
    assert step["options"]["task_id"] == "last"
    assert [link["task"] for link in step["options"]["link"]] == ["c"]
    assert [link["task"] for link in step["options"]["link_error"]] == ["d"]
    assert [link["task"] for link in message.embed["errbacks"]] == ["d"]


def test_a_group_is_a_message_each(app: App, sent: list[Any]) -> None:
    a, b, c = tasks(app, "abc")
    result = group(a, group(b, c)).apply_async((1,), queue="q")
    assert [message.task for message in sent] == ["a", "b", "c"]
    assert {message.headers["group"] for message in sent} == {result.id}
    assert [message.headers["group_index"] for message in sent] == [0, 1, 2]
    assert [message.args for message in sent] == [[1]] * 3
    assert [each.id for each in result.results] == [message.headers["id"] for message in sent]


def test_a_task_that_sends_itself_in_its_own_way_does_so_in_a_group(app: App, sent: list[Any]) -> None:
    class Own(app.Task):  # type: ignore[misc, name-defined]
        def apply_async(self, *args: Any, **options: Any) -> Any:
            return super().apply_async(*args, **{**options, "shadow": "own"})

    own = app.task(name="own", base=Own, shared=False)(lambda: None)
    group(app.tasks["a"].s(), own.s(), app.tasks["b"].s()).apply_async(headers={"x": 1})
    shadows = {message.task: message.headers["shadow"] for message in sent}
    assert shadows == {"a": None, "own": "own", "b": None}
    assert [message.headers["x"] for message in sent] == [1, 1, 1]


def test_error_links_of_chord_headers_are_sent(app: App, sent: list[Any]) -> None:
    failed = app.tasks["d"].s().clone(immutable=True)
    failed.apply_async()
    group(failed, failed.clone()).apply_async(("id",))
    assert [message.args for message in sent] == [[], ["id"], ["id"]]


def test_a_group_is_not_linked(app: App) -> None:
    with pytest.raises(TypeError):
        group(tasks(app, "ab")).apply_async(link=app.tasks["c"].s())
    with pytest.raises(TypeError):
        group(tasks(app, "ab")).apply_async(link_error=app.tasks["c"].s())


def test_a_group_delayed_step_by_step(app: App) -> None:
    delayed = group(tasks(app, "abcd")).skew(start=1, stop=3)
    assert [task.options["countdown"] for task in delayed.tasks] == [1, 2, 3, 3]


def test_a_chord_tells_each_task_of_its_header_the_body(
    app: App, sent: list[Any], sizes: dict[str, int]
) -> None:
    a, b, body = tasks(app, "abc")
    result = chord([a, b])(body)
    assert [message.task for message in sent] == ["a", "b"]
    gid = sent[0].headers["group"]
    for message in sent:
        assert message.embed["chord"]["task"] == "c"
        assert message.embed["chord"]["options"]["task_id"] == result.id
        assert message.embed["chord"]["options"]["group_id"] == gid
    assert sizes == {gid: 2}
    assert isinstance(result.parent, GroupResult)
    assert [each.id for each in result.parent] == [message.headers["id"] for message in sent]


def test_what_counts_for_a_chord(app: App, sent: list[Any], sizes: dict[str, int]) -> None:
    a, b, c, d = tasks(app, "abcd")
    header = [a, a | b, group(a, b), chord([a, b], c), _chain(a, group(b, c))]
    chord(header, d).apply_async()
    assert list(sizes.values())[-1] == 1 + 1 + 2 + 1 + 2
    assert chord(header, d).__length_hint__() == 7


def test_a_chord_without_a_header_sends_its_body(app: App, sent: list[Any]) -> None:
    result = chord([], app.tasks["total"].s(), app=app).apply_async()
    (message,) = sent
    assert (message.task, message.args, message.headers["id"]) == ("total", [[]], result.id)


def test_a_delay_is_the_headers(app: App, sent: list[Any], sizes: dict[str, int]) -> None:
    a, b, body = tasks(app, "abc")
    chord([a, b], body).apply_async(countdown=10)
    for message in sent:
        assert message.headers["eta"]
        assert "countdown" not in message.embed["chord"]["options"]


def test_links_of_a_chord_are_its_bodys(app: App, sent: list[Any], sizes: dict[str, int]) -> None:
    a, b, body, done = tasks(app, "abcd")
    canvas = chord([a, b], body)
    canvas.apply_async(link=done, link_error=done)
    options = sent[0].embed["chord"]["options"]
    assert [link["task"] for link in options["link"]] == ["d"]
    assert [link["task"] for link in options["link_error"]] == ["d"]
    assert sent[0].embed["callbacks"] is None
    assert "link" not in body.options


def test_error_links_of_headers_by_a_setting(app: App) -> None:
    a, b, body, failed = tasks(app, "abcd")
    with pytest.warns(PendingDeprecationWarning, match="task_allow_error_cb_on_chord_header"):
        chord([a, b], body, app=app).link_error(failed)
    assert "link_error" not in a.options
    app.conf.task_allow_error_cb_on_chord_header = True
    canvas = chord([a, b], body, app=app)
    canvas.link_error(failed)
    assert [task.options["link_error"][0]["task"] for task in canvas.tasks] == ["d", "d"]
    assert body.options["link_error"] == [failed]


def test_a_group_within_a_chain_becomes_a_chord_when_it_is_sent(
    app: App, sent: list[Any], sizes: dict[str, int]
) -> None:
    a, b, c, d = tasks(app, "abcd")
    result = _chain(a, group(b, c), d, app=app).apply_async()
    (message,) = sent
    (step,) = message.embed["chain"]
    assert (step["task"], step["subtask_type"]) == ("celery.chord", "chord")
    assert step["kwargs"]["body"]["options"]["task_id"] == result.id
    assert isinstance(result.parent, GroupResult)
    assert result.parent.parent.id == message.headers["id"]


def test_a_chain_that_ends_in_a_group_has_the_groups_result(app: App, sent: list[Any]) -> None:
    a, b, c = tasks(app, "abc")
    canvas: Any = a | group(b, c)
    result = canvas.apply_async()
    assert isinstance(result, GroupResult)
    assert len(result) == 2
    assert result.parent.id == sent[0].headers["id"]


def test_a_long_chain_of_chords_is_not_copied_into_each_header(
    app: App, sent: list[Any], sizes: dict[str, int]
) -> None:
    def message_size(chords: int) -> int:
        sent.clear()
        parts: list[Any] = []
        for _ in range(chords):
            parts += [group(tasks(app, "abc")), app.tasks["d"].s()]
        chain(parts).apply_async()
        return max(len(str(message.embed)) for message in sent)

    assert message_size(8) < 3 * message_size(4)


def test_a_generator_is_taken_as_it_is_sent(app: App, sent: list[Any], sizes: dict[str, int]) -> None:
    taken: list[int] = []

    def numbers() -> Iterator[Any]:
        for number in range(1200):
            assert len(sent) >= number - 502
            taken.append(number)
            yield app.tasks["a"].s(number)

    canvas = chord(numbers(), app.tasks["total"].s(), app=app)
    assert taken == []
    canvas.apply_async()
    assert [message.args for message in sent] == [[number] for number in range(1200)]
    assert list(sizes.values()) == [1200]


def test_the_tasks_of_a_slow_generator_do_not_wait_for_each_other(
    app: App, sent: list[Any], sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("taskyard.canvas.group_sending.monotonic", lambda: now)

    def numbers() -> Iterator[Any]:
        nonlocal now
        for number in range(9):
            # One that is taken ahead tells which is the last.
            assert len(sent) == max(0, number - 1)
            now += 1.0
            yield app.tasks["a"].s(number)

    chord(numbers(), app.tasks["total"].s(), app=app).apply_async()
    assert len(sent) == 9
    assert list(sizes.values()) == [9]


def test_lazy_lists_are_lists() -> None:
    items = LazyList(iter(range(3)))
    assert items[1] == 1
    assert list(items) == [0, 1, 2]
    assert list(items) == items
    assert len(items) == 3
    assert items[-1] == 2
    assert not LazyList(iter(()))
    changed = LazyList(iter(range(3)))
    assert changed[0] == 0
    changed.map(lambda number: number + 10)
    assert changed == [10, 11, 12]


def test_maps_and_chunks(app: App, sent: list[Any]) -> None:
    add = app.tasks["add"]
    add.starmap([(1, 2), (3, 4)]).apply_async()
    add.map(range(2)).apply_async()
    result = add.chunks(iter([(1, 1), (2, 2), (3, 3)]), 2).apply_async()
    assert [message.task for message in sent] == ["celery.starmap", "celery.map", *["celery.starmap"] * 2]
    assert sent[0].kwargs["it"] == [[1, 2], [3, 4]]
    assert sent[1].kwargs["it"] == [0, 1]
    assert [message.kwargs["it"] for message in sent[2:]] == [[[1, 1], [2, 2]], [[3, 3]]]
    assert isinstance(result, GroupResult)
    assert app.tasks["celery.starmap"](sent[0].kwargs["task"], [(1, 2), (3, 4)]) == [3, 7]


def test_eagerly(app: App) -> None:
    app.conf.task_always_eager = True
    add, total = app.tasks["add"], app.tasks["total"]
    assert (add.s(1, 2) | add.s(3)).apply_async().get() == 6
    assert group(add.s(1, 2), add.s(3, 4)).apply_async().get() == [3, 7]
    assert chord([add.s(1, 2), add.s(3, 4)])(total.s()).get() == 10
    canvas: Any = add.s(1, 1) | group(add.s(1), add.s(2)) | total.s()
    assert canvas.apply_async().get() == 7


def test_freezing_a_chain_gives_each_step_its_id(app: App) -> None:
    a, b = tasks(app, "ab")
    canvas = a | b
    result = canvas.freeze("last", group_id="g", group_index=3, chord=app.tasks["c"].s())
    first, last = canvas.tasks
    assert result.id == last.id == "last"
    assert isinstance(result.parent, AsyncResult)
    assert result.parent.id == first.id
    assert (last.options["group_id"], last.options["group_index"]) == ("g", 3)
    assert "chord" not in first.options
