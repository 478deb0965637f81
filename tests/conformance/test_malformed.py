"""Messages made up by hypothesis: whatever arrives, the worker lives, and no message is left hanging.

Each goes to the dead letters with a reason, or is a task message after all and ends as a task does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskyard import App
from tests.brokers.redis import RedisServer
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


@pytest.fixture(scope="module")
def cluster(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    url = f"redis://127.0.0.1:{redis_server.port}/499"
    made = Cluster("taskyard", Path(tmp_path_factory.mktemp("malformed")), url, url)
    made.start()
    yield made
    made.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(headers=HEADERS, body=BODIES, content_type=TYPES, raw=st.none() | st.binary(max_size=40))
def test_whatever_arrives(
    cluster: Cluster, headers: dict[str, Any], body: bytes, content_type: str, raw: bytes | None
) -> None:
    import base64

    store = redis.Redis.from_url(cluster.environment["BROKER"])
    message = {
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
    store.lpush("celery", json.dumps(message) if raw is None else raw)
    # With an ETA it waits in the schedule; everything else is settled at once.
    wait_until(lambda: not store.llen("celery") and not store.hlen("unacked"), what="nothing is left")
    assert not cluster.workers[0].ended(), cluster.workers[0].text()[-2000:]
    if raw is not None:
        store.delete("celery.dead")


def test_the_worker_still_works(cluster: Cluster) -> None:
    client: App = cluster.client
    assert client.send_task("pains.add", (2, 2)).get(timeout=60) == 4
    assert "Traceback (most recent call last)" not in cluster.workers[0].text()
