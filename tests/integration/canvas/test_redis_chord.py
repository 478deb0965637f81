"""A chord's fan-in in Redis, step by step: copies of parts, older workers, workers that are gone."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Iterator
from typing import Any

import pytest

from taskyard import App
from taskyard.broker.redis.pipe import Pipe
from taskyard.canvas import Signature, group
from taskyard.context import Context
from taskyard.errors import BrokerDisconnected, ChordError
from taskyard.result.chord_parts import Brought
from taskyard.result.meta import encode_meta
from taskyard.result.redis_chord import RedisChords
from taskyard.result.redis_store import RedisStore
from taskyard.result.store import Batch

pytestmark = pytest.mark.redis


class Fan:
    """A chord of two tasks, its parts brought by hand."""

    def __init__(self, app: App) -> None:
        self.app = app
        backend: Any = app.backend
        self.backend = backend
        self.client = backend.client
        self.body = Signature("total", app=app).set(task_id="body", group_id="gid")

    def size(self, parts: int) -> None:
        self.backend.set_chord_size("gid", parts)

    def bring(self, index: int, value: Any = None, state: str = "SUCCESS", again: bool = False) -> None:
        value = index if value is None else value
        self.backend.on_chord_part_return(self.request(index, again=again), state, value)

    def request(self, index: int, *, again: bool = False) -> Context:
        return Context(
            id=f"task-{index}",
            group="gid",
            group_index=index,
            chord=dict(self.body),
            delivery_info={"redelivered": again},
        )

    @property
    def sent(self) -> list[Any]:
        """Arguments of the bodies in the queue, the oldest first."""
        raw = self.client.lrange("celery", 0, -1)
        bodies = [json.loads(_unpacked(json.loads(each)["body"])) for each in reversed(raw)]
        return [args for args, _, _ in bodies]

    def key(self, name: str) -> Any:
        return self.client.get(f"celery-taskset-meta-gid.{name}")

    @property
    def keys(self) -> set[str]:
        return {key.decode() for key in self.client.keys("*gid*")}


class Parent:
    """The worker's parent with its loop, turned by hand: brings parts with their results."""

    def __init__(self, fan: Fan) -> None:
        self.fan = fan
        self.readers: list[tuple[int, Any]] = []
        self.later: list[Any] = []
        self.settled: list[int] = []
        self.completions: list[tuple[Any, str, Any]] = []
        self.store = RedisStore(fan.backend.url, fan.app.conf, self)
        self.store.complete = lambda *completion: self.completions.append(completion)

    # -- the loop
    def call_repeatedly(self, *args: Any) -> Any:
        return None

    def call_later(self, delay: float, callback: Any) -> Any:
        self.later.append(callback)

    def add_reader(self, fd: int, callback: Any) -> None:
        self.readers = [(fd, callback)]

    def remove(self, fd: int) -> None:
        self.readers = []

    # -- the worker
    def put(self, index: int) -> None:
        fan = self.fan
        part = fan.backend.chord_part(fan.request(index), "SUCCESS", index)
        brought = Brought(part, "add", {"id": part.task_id, "root_id": "root"}, {}, {})
        meta = encode_meta(part.task_id, "SUCCESS", index)
        self.store.put(Batch([(part.task_id, meta)], lambda: self.settled.append(index), 0, brought))

    def answers(self) -> None:
        """All there are."""
        self.store.flush()
        while self.store._sent:
            ((fd, callback),) = self.readers
            assert select.select([fd], [], [], 60)[0], "Redis does not answer"
            callback()

    def complete(self) -> None:
        """As the thread does."""
        for brought, token, done in self.completions:
            self.fan.backend.complete_chord(brought.part, token)
            done()
        self.completions.clear()


def _unpacked(body: str) -> bytes:
    import base64

    return base64.b64decode(body)


@pytest.fixture
def fan(url: str) -> Iterator[Fan]:
    app = App("fan", broker=url, backend=url, set_as_current=False)
    yield Fan(app)
    app.close()


def test_the_last_part_sends_the_body_in_the_headers_order(fan: Fan) -> None:
    fan.bring(1)
    fan.size(2)
    assert fan.sent == []
    fan.bring(0)
    assert fan.sent == [[[0, 1]]]
    assert fan.keys == {"celery-taskset-meta-gid.c"}
    assert fan.key("c") == b"done"
    assert fan.client.zcard("taskyard:chords") == fan.client.hlen("taskyard:chord-bodies") == 0


def test_a_part_that_comes_twice_counts_once(fan: Fan) -> None:
    fan.size(2)
    fan.bring(0)
    fan.bring(0, again=True)
    assert fan.sent == []
    fan.bring(1)
    fan.bring(1, again=True)
    assert fan.sent == [[[0, 1]]]


def test_a_part_of_a_worker_that_keeps_no_list_counts_and_counts_once(fan: Fan) -> None:
    fan.size(2)
    # As Celery 5.6 writes it.
    fan.client.zadd("celery-taskset-meta-gid.j", {'[1, "task-0", "SUCCESS", 0]': 0})
    fan.bring(0, again=True)
    assert fan.sent == []
    fan.bring(1)
    assert fan.sent == [[[0, 1]]]


def test_a_frozen_chord_may_be_sent_again(fan: Fan) -> None:
    for _ in range(2):
        fan.bring(0)
        fan.size(2)
        fan.bring(1)
    assert fan.sent == [[[0, 1]], [[0, 1]]]


def test_a_failed_part_fails_the_body_and_leaves_the_parts(fan: Fan) -> None:
    fan.size(2)
    fan.bring(0)
    fan.bring(1, ValueError("as wanted"), "FAILURE")
    meta = fan.backend.get_task_meta("body")
    assert meta["status"] == "FAILURE"
    assert isinstance(meta["result"], ChordError)
    assert "as wanted" in str(meta["result"])
    assert fan.client.zcard("celery-taskset-meta-gid.j") == 2
    fan.bring(1, 1, again=True)
    assert fan.sent == []


def test_parts_added_while_it_runs(fan: Fan) -> None:
    fan.size(1)
    fan.backend.add_to_chord("gid", None)
    fan.bring(0)
    assert fan.sent == []
    fan.bring(1)
    assert fan.sent == [[[0, 1]]]


def test_unordered_parts(fan: Fan) -> None:
    fan.app.conf.result_backend_transport_options = {"result_chord_ordered": False}
    fan.size(2)
    fan.bring(1)
    fan.bring(1, again=True)
    fan.bring(0)
    assert fan.sent == [[[1, 0]]]


def test_a_header_with_groups_in_it_keeps_its_shape(fan: Fan) -> None:
    app = fan.app
    inner = group([Signature("add", app=app).set(task_id=f"task-{n}") for n in (1, 2)], app=app)
    results = [app.AsyncResult("task-0"), inner.freeze()]
    fan.backend.apply_chord(("gid", results), fan.body)
    fan.size(3)
    for index in range(3):
        fan.bring(index)
    assert fan.sent == [[[0, [1, 2]]]]


def test_a_body_whose_sender_is_gone_is_sent_by_the_sweeper(
    fan: Fan, monkeypatch: pytest.MonkeyPatch
) -> None:
    fan.size(1)
    with monkeypatch.context() as gone:
        gone.setattr(RedisChords, "_complete", lambda *args: None)
        fan.bring(0)
    assert fan.sent == []
    assert fan.backend.sweep_chords() == 0  # its claim holds
    fan.bring(0, again=True)
    assert fan.sent == []
    fan.client.delete("celery-taskset-meta-gid.c")  # as time does
    fan.client.zadd("taskyard:chords", {"gid": time.time()})
    assert fan.backend.sweep_chords() == 1
    assert fan.sent == [[[0]]]
    assert fan.key("c") == b"done"
    assert fan.backend.sweep_chords() == 0


def test_a_body_that_the_broker_would_not_take_is_sent_later(
    fan: Fan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **options: Any) -> None:
        raise BrokerDisconnected("gone")

    fan.size(1)
    with monkeypatch.context() as gone:
        gone.setattr("taskyard.client.producer.Producer.publish", away)
        fan.bring(0)
    assert fan.backend.get_state("body") == "PENDING"
    fan.client.delete("celery-taskset-meta-gid.c")
    fan.client.zadd("taskyard:chords", {"gid": time.time()})
    assert fan.backend.sweep_chords() == 1
    assert fan.sent == [[[0]]]


def test_a_chord_that_expires_fails(fan: Fan) -> None:
    fan.backend._chord_expires = 600
    fan.size(2)
    fan.bring(0)
    (due,) = fan.client.zrange("taskyard:chords", 0, -1, withscores=True)
    assert 200 < due[1] - time.time() < 600
    fan.client.zadd("taskyard:chords", {"gid": time.time()})
    assert fan.backend.sweep_chords() == 0  # there is time
    fan.client.expire("celery-taskset-meta-gid.j", 30)
    fan.client.zadd("taskyard:chords", {"gid": time.time()})
    assert fan.backend.sweep_chords() == 1
    meta = fan.backend.get_task_meta("body")
    assert meta["status"] == "FAILURE"
    assert "1 of 2 results" in str(meta["result"])
    assert fan.sent == []


def test_the_parent_brings_many_parts_in_one_call(fan: Fan, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    call_script = Pipe.call_script

    def count(self: Pipe, on_reply: Any, script: Any, *operands: Any) -> None:
        calls.append(script)
        call_script(self, on_reply, script, *operands)

    monkeypatch.setattr(Pipe, "call_script", count)
    parent = Parent(fan)
    fan.bring(0)  # by another worker, or by a child
    fan.size(5)
    for index in (2, 1, 2):
        parent.put(index)
    parent.answers()
    assert parent.settled == [2, 1, 2]
    assert fan.client.zcard("celery-taskset-meta-gid.j") == 3
    parent.put(3)
    parent.put(4)
    parent.answers()
    assert len(calls) == 4, "results and parts, in two turns"
    assert (parent.settled, fan.sent) == ([2, 1, 2], []), "the last part is settled when the body is sent"
    [(brought, _, _)] = parent.completions
    assert brought.headers["root_id"] == "root"
    parent.complete()
    assert (parent.settled, fan.sent) == ([2, 1, 2, 3, 4], [[[0, 1, 2, 3, 4]]])
    assert fan.keys == {"celery-taskset-meta-gid.c"}
    assert fan.backend.get_state("task-4") == "SUCCESS"
    assert parent.store.pending == 0


def test_a_connection_that_is_lost_between_counts_no_part_twice_and_sends_one_body(fan: Fan) -> None:
    parent = Parent(fan)
    fan.size(2)
    parent.put(0)
    parent.put(1)
    parent.store.flush()
    deadline = time.monotonic() + 60
    while fan.key("c") is None:  # it was done, and the answers are lost
        assert time.monotonic() < deadline
        time.sleep(0.01)
    parent.store._lost(OSError("cut"))
    assert parent.settled == []
    parent.later.pop()()
    parent.answers()
    assert len(parent.completions) == 1
    assert fan.client.zcard("celery-taskset-meta-gid.j") == 2
    parent.complete()
    assert (parent.settled, fan.sent) == ([0, 1], [[[0, 1]]])
    # It was all done, and the answers are lost: nothing of the chord comes back.
    parent.put(1)
    parent.store.flush()
    parent.store._lost(OSError("cut"))
    parent.later.pop()()
    parent.answers()
    assert (parent.settled, parent.completions, fan.sent) == ([0, 1, 1], [], [[[0, 1]]])
