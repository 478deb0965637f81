"""Flower, unmodified and in a process of its own, shows our worker and its buttons work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskyard import App
from tests.brokers.ports import free_ports
from tests.integration.remote.conftest import APPS
from tests.integration.worker.harness import Broker, StartWorker, wait_until

WAIT = 60
NODE = "w0@test"


class Flower:
    """`celery flower` on a free port."""

    def __init__(self, broker: Broker, directory: Path, management: str | None = None) -> None:
        (self.port,) = free_ports(1)
        self.log = directory / "flower.log"
        environment = {
            **os.environ,
            "PYTHONPATH": str(APPS),
            "BROKER": broker.url,
            "BACKEND": broker.backend,
            "FLOWER_UNAUTHENTICATED_API": "true",
        }
        command = [sys.executable, "-m", "celery", "-A", "flower_app", "flower", f"--port={self.port}"]
        command += ["--address=127.0.0.1", "--inspect_timeout=5000"]
        command += [f"--broker_api={management}"] if management else []
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, cwd=directory, stdout=log, stderr=log)
        wait_until(lambda: self.get("/healthcheck")[0] == 200, what="Flower serves")

    def get(self, path: str, **arguments: Any) -> tuple[int, str]:
        query = f"?{urllib.parse.urlencode(arguments)}" if arguments else ""
        return self._request(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}{query}"))

    def json(self, path: str, **arguments: Any) -> Any:
        status, text = self.get(path, **arguments)
        assert status == 200, text
        return json.loads(text)

    def post(self, path: str, **arguments: Any) -> str:
        data = urllib.parse.urlencode(arguments).encode()
        status, text = self._request(
            urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, method="POST")
        )
        assert status == 200, text
        return str(json.loads(text)["message"])

    def _request(self, request: urllib.request.Request) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def close(self) -> None:
        self.process.kill()
        self.process.wait(30)


@pytest.fixture(params=["redis", pytest.param("amqp", marks=pytest.mark.rabbitmq)])
def broker(request: pytest.FixtureRequest) -> Broker:
    found: Broker = request.getfixturevalue(f"{request.param}_broker")
    return found


@pytest.fixture
def flower(broker: Broker, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flower]:
    management = None
    if broker.kind == "amqp":
        server = request.getfixturevalue("rabbitmq_server")
        management = f"http://guest:guest@127.0.0.1:{server.management_port}/api/"
    flower = Flower(broker, tmp_path, management)
    yield flower
    flower.close()


def test_flower_shows_our_worker_and_its_buttons_work(
    broker: Broker, flower: Flower, client: App, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    wait_until(lambda: flower.json("/api/workers", refresh="true").get(NODE), what="Flower knows the worker")
    shown = flower.json("/api/workers", refresh="true")[NODE]
    assert shown["stats"]["pid"] == worker.pid
    assert "remote_jobs.add" in shown["registered"]
    assert [queue["name"] for queue in shown["active_queues"]] == ["celery"]
    assert flower.json("/api/workers", status="true") == {NODE: True}

    sent = client.send_task("remote_jobs.add", (2, 3))
    assert sent.get(timeout=WAIT) == 5
    # Flower asks for task events each few seconds; what ran before that it cannot know.
    wait_until(
        lambda: [
            client.send_task("remote_jobs.add", (2, 3)).get(timeout=WAIT),
            [task for task in flower.json("/api/tasks").values() if task["state"] == "SUCCESS"],
        ][1],
        what="Flower shows a task",
    )
    done = next(task for task in flower.json("/api/tasks").values() if task["state"] == "SUCCESS")
    assert (done["name"], done["worker"], done["result"]) == ("remote_jobs.add", NODE, "5")
    assert flower.json(f"/api/task/info/{done['uuid']}")["args"] == "(2, 3)"
    lengths = flower.json("/api/queues/length")["active_queues"]
    assert [queue["messages"] for queue in lengths if queue["name"] == "celery"] == [0]

    for path in ("/", "/workers", f"/worker/{NODE}", "/tasks", f"/task/{done['uuid']}", "/broker"):
        status, text = flower.get(path)
        assert status == 200, (path, text)
        assert "Error" not in text.partition("<title>")[2].partition("</title>")[0]
    assert NODE in flower.get(f"/worker/{NODE}")[1]

    assert "1" in flower.post(f"/api/worker/pool/grow/{NODE}", n=1)
    wait_until(lambda: len(worker.children()) == 3, what="three processes")
    flower.post(f"/api/worker/pool/shrink/{NODE}", n=1)
    wait_until(lambda: len(worker.children()) == 2, what="two processes")
    assert "rate limit" in flower.post(
        "/api/task/rate-limit/remote_jobs.add", workername=NODE, ratelimit="100/s"
    )
    assert "time limits" in flower.post(
        "/api/task/timeout/remote_jobs.add", workername=NODE, hard=60, soft=50
    )
    flower.post(f"/api/worker/queue/add-consumer/{NODE}", queue="second")
    assert client.send_task("remote_jobs.add", (1, 1), queue="second").get(timeout=WAIT) == 2
    flower.post(f"/api/worker/queue/cancel-consumer/{NODE}", queue="second")

    long = client.send_task("remote_jobs.nap", (60, "long"))
    wait_until(lambda: "begin long" in worker.ran(), what="it runs")
    flower.post(f"/api/task/revoke/{long.id}", terminate="true")
    wait_until(lambda: long.state == "REVOKED", what="it is ended")
    wait_until(lambda: flower.json(f"/api/task/info/{long.id}")["state"] == "REVOKED", what="Flower knows it")
    flower.post(f"/api/worker/shutdown/{NODE}")
    assert worker.wait() == 0
