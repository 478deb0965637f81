"""Messages made up by hypothesis, and one of each kind that cannot run: the worker lives, nothing hangs.

Each goes to the dead letters with a reason and is counted, or is a task message after all and ends as a task
does.
"""

from __future__ import annotations

import base64
import json
import struct
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from amqp.exceptions import FrameSyntaxError
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from kombu import Connection

from taskyard import App
from taskyard.broker.dead_letters import Wanted, open_store
from tests.brokers.redis import RedisServer
from tests.brokers.vhost import Vhost
from tests.conformance.pains.harness import Cluster, wait_until

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
GOOD: dict[str, Any] = {
    "task": "pains.add",
    "id": "an-id",
    "retries": 0,
    "timelimit": [None, None],
    "lang": "py",
    "eta": None,
    "expires": None,
    "group": None,
    "root_id": "an-id",
}
HEADERS = st.dictionaries(st.sampled_from(sorted(GOOD)), JSON, max_size=3).map(lambda changed: GOOD | changed)
BODIES = (
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.tuples(JSON, JSON, JSON).map(lambda value: json.dumps(value).encode())
)
TYPES = st.sampled_from(
    ["application/json"] * 6 + ["application/x-python-serialize", "text/plain", "x/y", ""]
)
#: Where bytes become too many.
MOST_BYTES = 100_000


class Scene(NamedTuple):
    """A worker on one of the brokers, and what the broker holds."""

    cluster: Cluster
    #: Messages in the queue and in the worker's hands.
    messages: Callable[[], int]

    @property
    def url(self) -> str:
        return self.cluster.environment["BROKER"]

    def publish(self, headers: dict[str, Any], body: bytes, content_type: str) -> None:
        if self.url.startswith("redis"):
            self.push(json.dumps(envelope(headers, body, content_type)))
            return
        with Connection(self.url) as connection:
            channel = connection.channel()
            message = channel.prepare_message(
                body, content_type=content_type, content_encoding="utf-8", headers=headers
            )
            channel.confirm_select()
            channel.basic_publish_confirm(message, exchange="", routing_key="celery")

    def push(self, text: bytes | str) -> None:
        """Put anything at all into the list of a queue."""
        redis.Redis.from_url(self.url).lpush("celery", text)

    def settled(self) -> None:
        wait_until(lambda: not self.messages(), what="nothing is left")
        assert not self.cluster.workers[0].ended(), self.cluster.workers[0].text()[-2000:]

    def reasons(self) -> dict[str, str]:
        """Why each of the dead letters is there, by the id of its task."""
        with open_store(self.cluster.client.conf) as store:
            letters = list(store.letters("celery.dead", Wanted(frozenset(), None, None)))
        return {letter.summary()["id"]: letter.summary()["reason"] for letter in letters}

    def get(self, path: str) -> str:
        address = f"http://127.0.0.1:{self.cluster.workers[0].port}{path}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            text: str = answer.read().decode()
        return text


def envelope(headers: dict[str, Any], body: bytes, content_type: str) -> dict[str, Any]:
    return {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": content_type,
        "headers": headers,
        "properties": {
            "body_encoding": "base64",
            "correlation_id": "x",
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "delivery_mode": 2,
            "delivery_tag": "tag",
            "priority": 0,
        },
    }


def redis_messages(store: redis.Redis) -> int:
    # At one moment: what is given back moves from the one to the other.
    with store.pipeline(transaction=True) as both:
        both.llen("celery")
        both.hlen("unacked")
        waiting, held = both.execute()
    return int(waiting) + int(held)


def amqp_messages(vhost: Vhost) -> int:
    found = vhost.server.ctl("list_queues", "--vhost", vhost.name, "name", "messages").splitlines()
    return sum(int(line.split("\t")[1]) for line in found if line.startswith("celery\t"))


@pytest.fixture(scope="module", params=["redis", pytest.param("amqp", marks=pytest.mark.slow)])
def scene(
    request: pytest.FixtureRequest, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    backend = f"redis://127.0.0.1:{redis_server.port}/{499 if request.param == 'redis' else 498}"
    leave = ExitStack()
    if request.param == "redis":
        broker = backend
        messages = partial(redis_messages, redis.Redis.from_url(backend))
    else:
        vhost = Vhost(request.getfixturevalue("rabbitmq_server"))
        leave.callback(vhost.delete)
        broker = vhost.url
        messages = partial(amqp_messages, vhost)
    directory = Path(tmp_path_factory.mktemp("malformed"))
    made = Cluster("taskyard", directory, broker, backend, MOST_BYTES=str(MOST_BYTES))
    leave.callback(made.close)
    with leave:
        made.start()
        yield Scene(made, messages)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(headers=HEADERS, body=BODIES, content_type=TYPES, raw=st.none() | st.binary(max_size=40))
def test_whatever_arrives(
    scene: Scene, headers: dict[str, Any], body: bytes, content_type: str, raw: bytes | None
) -> None:
    if raw is not None and scene.url.startswith("redis"):
        scene.push(raw)
    else:
        try:
            scene.publish(headers, body, content_type)
        except (struct.error, FrameSyntaxError):
            reject()  # AMQP has no such numbers and names
    if scene.url.startswith("redis"):
        # With an ETA it waits in the schedule; everything else is settled at once.
        scene.settled()


def test_each_kind_ends_where_it_belongs(scene: Scene) -> None:
    good = json.dumps([[1, 1], {}, None]).encode()
    kinds: dict[str, tuple[dict[str, Any], bytes, str, str]] = {
        "undecodable": ({}, b"{not json", "application/json", "body is no JSON"),
        "oversized": ({}, b"[" + b" " * MOST_BYTES + good[1:], "application/json", "bytes"),
        "of the wrong type": ({}, b'{"a": 1}', "application/json", "body must be [args, kwargs, embed]"),
        "with a wrong header": ({"timelimit": 5}, good, "application/json", "header 'timelimit'"),
        "unaccepted": ({}, b"cos\nsystem\n(S'true'\ntR.", "application/x-python-serialize", "not accepted"),
        "unknown": ({"task": "pains.nowhere"}, good, "application/json", "pains.nowhere"),
    }
    before = json.loads(scene.get("/state"))["malformed"]
    ids = {kind: str(uuid.uuid4()) for kind in (*kinds, "expired")}
    for kind, (changes, body, content_type, _) in kinds.items():
        scene.publish({**GOOD, "id": ids[kind], **changes}, body, content_type)
    scene.publish(
        {**GOOD, "id": ids["expired"], "expires": "2020-01-01T00:00:00+00:00"}, good, "application/json"
    )
    scene.settled()
    wait_until(lambda: ids["unknown"] in scene.reasons(), what="the last one")
    reasons = scene.reasons()
    for kind, (_, _, _, reason) in kinds.items():
        assert reason in reasons[ids[kind]], kind
    assert ids["expired"] not in reasons
    client: App = scene.cluster.client
    assert client.AsyncResult(ids["expired"]).state == "REVOKED"
    assert client.AsyncResult(ids["unknown"]).state == "FAILURE"
    count = before + len(kinds) - 1  # the unknown one is a task that fails
    assert json.loads(scene.get("/state"))["malformed"] == count
    metrics = scene.get("/metrics").splitlines()
    assert f"taskyard_worker_malformed_messages_total {count}" in metrics
    for state in ("revoked", "failure"):
        assert any(line.startswith(f'taskyard_worker_tasks_total{{state="{state}"}}') for line in metrics)


def test_the_worker_still_works(scene: Scene) -> None:
    scene.settled()
    client: App = scene.cluster.client
    assert client.send_task("pains.add", (2, 2)).get(timeout=60) == 4
    assert "Traceback (most recent call last)" not in scene.cluster.workers[0].text()
