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


@pytest.fixture(params=["sqlite", "memcached", "msgpack", "compressed"])
def setting(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> dict[str, Any]:
    """Where results go, and how."""
    if request.param == "sqlite":
        return {"result_backend": f"db+sqlite:///{tmp_path}/results.db"}
    if request.param == "memcached":
        return {"result_backend": request.getfixturevalue("memcached").url}
    if request.param == "msgpack":
        return {"result_backend": redis_url, "result_serializer": "msgpack"}
    return {"result_backend": redis_url, "result_compression": "zlib"}


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
    assert add.clone((2, 3)).delay().get(timeout=WAIT, interval=0.05) == 5
    assert client.send_task("jobs.add", (2, 4)).get(timeout=WAIT, interval=0.05) == 6
    with pytest.raises(ValueError, match="no"):
        fail.delay().get(timeout=WAIT, interval=0.05)
    with pytest.raises(ValueError, match="no"):
        client.send_task("jobs.fail").get(timeout=WAIT, interval=0.05)
    assert client.send_task("jobs.third_time").get(timeout=WAIT, interval=0.05) == 2
    # A chord of ours, one of Celery's, and one that fails.
    result = chord([add.clone((n, n)) for n in range(4)], app=app)(echo)
    assert result.get(timeout=WAIT, interval=0.05) == [[[0, 2, 4, 6]], {}]
    theirs = celery.chord([client.signature("jobs.add", (n, 1)) for n in range(3)], app=client)
    assert theirs(client.signature("jobs.echo")).get(timeout=WAIT, interval=0.05) == [[[1, 2, 3]], {}]
    broken = chord(group([add.clone((1, 1)), fail], app=app), app=app)(echo)
    with pytest.raises(ChordError, match="ValueError"):
        broken.get(timeout=WAIT, interval=0.05, follow_parents=False)
    # What the parent decides.
    with pytest.raises(Exception, match="TimeLimitExceeded"):
        app.send_task("jobs.mark", ("slow", 60), time_limit=1).get(timeout=WAIT, interval=0.05)
    with pytest.raises(Exception, match="expired"):
        app.send_task("jobs.add", (1, 1), expires=-1).get(timeout=WAIT, interval=0.05)
    late = app.signature("jobs.mark", ("slow", 60)).set(time_limit=1)
    with pytest.raises(ChordError, match="TimeLimitExceeded"):
        chord([late, add.clone((1, 1))], app=app)(echo).get(timeout=WAIT, interval=0.05, follow_parents=False)
