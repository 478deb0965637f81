"""Results that go by the broker's connection: what is sent by it, what is not, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from taskyard import App
from taskyard.loop import Loop
from taskyard.result import joint_store
from taskyard.result.chord_parts import Brought, Part
from taskyard.result.joint_store import JointStore
from taskyard.result.store import Batch

#: Nothing listens there.
NOWHERE = "redis://127.0.0.1:1/0"


class FakeJoint:
    """Notes the calls; a test answers them."""

    usable = True

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], list[Any], Callable[[Exception | None], None]]] = []

    def call(self, keys: list[bytes], arguments: list[bytes], deliveries: Iterable[Any], done: Any) -> None:
        assert len(arguments) == 2 + 2 * len(keys)
        ids = [key.decode().removeprefix("celery-task-meta-") for key in keys]
        self.calls.append((ids, list(deliveries), done))


class Bench:
    def __init__(self) -> None:
        self.loop = Loop()
        self.joint = FakeJoint()
        conf = App("unit", broker="memory://", set_as_current=False).conf
        self.store = JointStore(NOWHERE, conf, self.loop)
        self.stored: list[str] = []

    def open_link(self) -> None:
        self.store.link_open(cast("Any", SimpleNamespace(joint_calls=lambda url, work: self.joint)))

    def put(self, *names: str, brought: Brought | None = None) -> None:
        for name in names:
            batch = Batch([(name, b"{}")], lambda name=name: self.stored.append(name), 0, brought)  # type: ignore[misc]
            batch.delivery = cast("Any", f"message of {name}")
            self.store.put(batch)

    def sent(self) -> list[list[str]]:
        self.store.flush()
        return [ids for ids, _, _ in self.joint.calls]


@pytest.fixture
def bench() -> Any:
    bench = Bench()
    yield bench
    bench.store.close()
    bench.loop.close()


def test_results_go_with_their_messages_and_are_stored_with_the_answer(bench: Bench) -> None:
    bench.open_link()
    bench.put("a", "b")
    assert bench.sent() == [["a", "b"]]
    _, deliveries, done = bench.joint.calls[0]
    assert deliveries == ["message of a", "message of b"]
    assert (bench.stored, bench.store.pending) == ([], 2)
    done(None)
    assert (bench.stored, bench.store.pending) == (["a", "b"], 0)


def test_a_call_carries_no_more_than_a_script_can_take(bench: Bench) -> None:
    bench.open_link()
    names = [f"n{number}" for number in range(450)]
    bench.put(*names)
    calls = bench.sent()
    assert [len(each) for each in calls] == [200, 200, 50]
    assert [name for each in calls for name in each] == names


def test_parts_of_chords_and_what_comes_without_a_link_go_by_the_other_connection(bench: Bench) -> None:
    bench.put("early")
    bench.open_link()
    part = Part("p", "group", "1", b"1", b"{}", False)
    bench.put("p", brought=Brought(part, "t", {}, {}, {}))
    bench.put("a")
    assert bench.sent() == [["a"]]
    assert bench.store.pending == 3
    assert bench.store.away, "the other connection was tried"


def test_while_earlier_ones_wait_for_the_other_connection_the_next_ones_do_too(bench: Bench) -> None:
    bench.put("started")
    bench.store.flush()
    assert bench.store.away
    bench.open_link()
    bench.put("failed")
    assert bench.sent() == []
    assert bench.store.pending == 2


def test_what_a_lost_link_did_not_answer_is_kept_in_order(bench: Bench) -> None:
    bench.open_link()
    bench.put("a", "b")
    bench.sent()
    bench.joint.usable = False
    bench.put("c")
    assert bench.sent() == [["a", "b"]]
    bench.store.link_lost()
    assert bench.store.pending == 3
    waiting = [task_id for batch in bench.store._waiting for task_id, _ in batch.results]
    assert waiting == ["a", "b", "c"]
    assert bench.stored == []


def test_after_a_refusal_the_broker_s_connection_is_left_alone(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.open_link()
    bench.put("a")
    bench.sent()
    bench.put("b")
    bench.sent()
    (_, _, first), (_, _, second) = bench.joint.calls
    first(RuntimeError("OOM"))
    second(None)  # done, but it cannot be known what: it is stored again
    assert "refuses them: OOM" in caplog.text
    assert (bench.stored, bench.store.pending) == ([], 2)
    bench.put("c")
    assert len(bench.sent()) == 2
    assert bench.store.pending == 3


def test_after_a_while_it_is_tried_again_when_nothing_waits_for_the_other_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint_store, "_AGAIN_SECONDS", 0.0)
    bench.open_link()
    bench.put("a")
    bench.sent()
    bench.joint.calls[0][2](RuntimeError("OOM"))
    bench.put("b")
    assert bench.store.pending == len(bench.store._waiting) == 2
    bench.store._waiting.clear()  # they are stored
    bench.put("c")
    assert bench.sent() == [["a"], ["c"]]
