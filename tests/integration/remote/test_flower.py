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
from tests.integration.remote.parity import APPS
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
        """What it says; Flower gives the worker a second to answer, after which it refuses."""
        data = urllib.parse.urlencode(arguments).encode()
        status, text = self._request(
            urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, method="POST")
        )
        assert status in (200, 403), text
        return str(json.loads(text)["message"]) if status == 200 else ""

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

    def known() -> Any:
        found = flower.json("/api/workers", refresh="true").get(NODE, {})
        return found if {"stats", "registered", "active_queues"} <= found.keys() else None

    shown = wait_until(known, what="Flower knows the worker")
    assert shown["stats"]["pid"] == worker.pid
    assert "remote_jobs.add" in shown["registered"]
    assert [queue["name"] for queue in shown["active_queues"]] == ["celery"]
    wait_until(lambda: flower.json("/api/workers", status="true") == {NODE: True}, what="it is alive")

    sent = client.send_task("remote_jobs.add", (2, 3))
    assert sent.get(timeout=WAIT) == 5

    # Flower asks for task events each few seconds; what ran before that it cannot know.
    def seen() -> Any:
        """A task whose whole life Flower has heard of."""
        client.send_task("remote_jobs.add", (2, 3)).get(timeout=WAIT)
        tasks = flower.json("/api/tasks").values()
        return next((each for each in tasks if each["state"] == "SUCCESS" and each["name"]), None)

    done = wait_until(seen, what="Flower shows a task")
    assert (done["name"], done["worker"], done["result"]) == ("remote_jobs.add", NODE, "5")
    assert flower.json(f"/api/task/info/{done['uuid']}")["args"] == "(2, 3)"

    def lengths() -> list[int]:
        queues = flower.json("/api/queues/length")["active_queues"]
        return [queue["messages"] for queue in queues if queue["name"] == "celery"]

    wait_until(lambda: lengths() == [0], what="an empty queue")

    for path in ("/", "/workers", f"/worker/{NODE}", "/tasks", f"/task/{done['uuid']}", "/broker"):
        status, text = flower.get(path)
        assert status == 200, (path, text)
        assert "Error" not in text.partition("<title>")[2].partition("</title>")[0]
    assert NODE in flower.get(f"/worker/{NODE}")[1]

    flower.post(f"/api/worker/pool/grow/{NODE}", n=1)
    wait_until(lambda: len(worker.children()) == 3, what="three processes")
    flower.post(f"/api/worker/pool/shrink/{NODE}", n=1)
    wait_until(lambda: len(worker.children()) == 2, what="two processes")
    answers = [
        ("rate limit", "/api/task/rate-limit/remote_jobs.add", {"workername": NODE, "ratelimit": "100/s"}),
        ("time limits", "/api/task/timeout/remote_jobs.add", {"workername": NODE, "hard": 60, "soft": 50}),
        ("consumer second", f"/api/worker/queue/add-consumer/{NODE}", {"queue": "second"}),
    ]
    for words, path, arguments in answers:
        wait_until(
            lambda words=words, path=path, arguments=arguments: words in flower.post(path, **arguments),  # type: ignore[misc]
            what=path,
        )
    assert client.send_task("remote_jobs.add", (1, 1), queue="second").get(timeout=WAIT) == 2
    flower.post(f"/api/worker/queue/cancel-consumer/{NODE}", queue="second")

    long = client.send_task("remote_jobs.nap", (60, "long"))
    wait_until(lambda: "begin long" in worker.ran(), what="it runs")
    flower.post(f"/api/task/revoke/{long.id}", terminate="true")
    wait_until(lambda: long.state == "REVOKED", what="it is ended")
    wait_until(lambda: flower.json(f"/api/task/info/{long.id}")["state"] == "REVOKED", what="Flower knows it")
    flower.post(f"/api/worker/shutdown/{NODE}")
    assert worker.wait() == 0
