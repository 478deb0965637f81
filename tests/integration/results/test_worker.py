"""Our worker on stores that its children write to: states, chords, and what the parent itself decides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import pytest

from taskyard import App
from taskyard.canvas import chord, group
from taskyard.errors import ChordError
from tests.integration.worker.harness import WorkerProcess

WAIT = 60


@pytest.fixture(params=["sqlite", "mongodb", "memcached", "packed"])
def setting(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> dict[str, Any]:
    """Where results go, and how."""
    if request.param == "sqlite":
        return {"result_backend": f"db+sqlite:///{tmp_path}/results.db"}
    if request.param == "mongodb":
        return {"result_backend": f"{request.getfixturevalue('mongodb').url}/worker"}
    if request.param == "memcached":
        return {"result_backend": request.getfixturevalue("memcached").url}
    return {"result_backend": redis_url, "result_serializer": "msgpack", "result_compression": "zlib"}


@pytest.fixture
def broker_url(redis_server: object, redis_url: str) -> str:
    return redis_url.rpartition("/")[0] + "/0"


@pytest.fixture
def app(broker_url: str, setting: dict[str, Any]) -> App:
    return App("client", broker=broker_url, accept_content=["json", "msgpack"], **setting)


@pytest.fixture
def worker(broker_url: str, setting: dict[str, Any], tmp_path: Path) -> Iterator[WorkerProcess]:
    environment = {name.upper(): value for name, value in setting.items() if name != "result_backend"}
    worker = WorkerProcess(
        tmp_path, broker_url, "-c", "2", backend=setting["result_backend"], environment=environment
    )
    yield worker.start()
    worker.close()


@pytest.fixture
def client(broker_url: str, setting: dict[str, Any]) -> Iterator[celery.Celery]:
    client = celery.Celery(
        "client",
        broker=broker_url,
        set_as_current=False,
        changes={"accept_content": ["json", "msgpack"], **setting},
    )
    yield client
    client.close()


def test_results_arrive(worker: WorkerProcess, app: App, client: celery.Celery) -> None:
    add, echo, fail = (app.signature(f"jobs.{name}") for name in ("add", "echo", "fail"))
    late = app.signature("jobs.mark", ("slow", 60)).set(time_limit=1)
    # A chord of ours, one of Celery's, and those that fail; all wait for the store's pace side by side.
    ours = chord([add.clone((n, n)) for n in range(4)], app=app)(echo)
    theirs = celery.chord([client.signature("jobs.add", (n, 1)) for n in range(3)], app=client)(
        client.signature("jobs.echo")
    )
    broken = chord(group([add.clone((1, 1)), fail], app=app), app=app)(echo)
    cut_short = chord([late, add.clone((1, 1))], app=app)(echo)
    assert add.clone((2, 3)).delay().get(timeout=WAIT, interval=0.05) == 5
    assert client.send_task("jobs.add", (2, 4)).get(timeout=WAIT, interval=0.05) == 6
    with pytest.raises(ValueError, match="no"):
        fail.delay().get(timeout=WAIT, interval=0.05)
    with pytest.raises(ValueError, match="no"):
        client.send_task("jobs.fail").get(timeout=WAIT, interval=0.05)
    assert client.send_task("jobs.third_time").get(timeout=WAIT, interval=0.05) == 2
    # What the parent decides.
    with pytest.raises(Exception, match="TimeLimitExceeded"):
        late.delay().get(timeout=WAIT, interval=0.05)
    with pytest.raises(Exception, match="expired"):
        app.send_task("jobs.add", (1, 1), expires=-1).get(timeout=WAIT, interval=0.05)
    assert ours.get(timeout=WAIT, interval=0.05) == [[[0, 2, 4, 6]], {}]
    assert theirs.get(timeout=WAIT, interval=0.05) == [[[1, 2, 3]], {}]
    with pytest.raises(ChordError, match="ValueError"):
        broken.get(timeout=WAIT, interval=0.05, follow_parents=False)
    with pytest.raises(ChordError, match="TimeLimitExceeded"):
        cut_short.get(timeout=WAIT, interval=0.05, follow_parents=False)
