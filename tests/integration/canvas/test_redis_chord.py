"""A chord's fan-in in Redis, step by step: copies of parts, older workers, workers that are gone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from taskyard import App
from taskyard.canvas import Signature, group
from taskyard.context import Context
from taskyard.errors import BrokerDisconnected, ChordError
from taskyard.result.redis_chord import RedisChords

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
        request = Context(
            id=f"task-{index}",
            group="gid",
            group_index=index,
            chord=dict(self.body),
            delivery_info={"redelivered": again},
        )
        self.backend.on_chord_part_return(request, state, index if value is None else value)

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
    fan.app.conf.result_chord_expires = 600
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
