"""A worker of Celery and one of ours with the same tasks on one Redis."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import celery
import pytest
import redis

from tests.brokers.redis import RedisServer
from tests.integration.worker.harness import wait_until

APPS = Path(__file__).parent / "apps"
THEIRS, OURS = "celery@test", "ours@test"
QUEUES = {THEIRS: "theirs", OURS: "ours"}


@dataclass
class Pair:
    """The two workers, a Celery client, and all events since before they started."""

    url: str
    client: celery.Celery
    logs: dict[str, Path]
    events: list[dict[str, Any]] = field(default_factory=list)

    @staticmethod
    def capture(receiver: Any) -> None:
        with contextlib.suppress(OSError, redis.ConnectionError):
            receiver.capture()

    def of(self, task_id: str) -> list[dict[str, Any]]:
        """The workers' events of a task, by what their clocks say."""
        own = [each for each in list(self.events) if each.get("uuid") == task_id]
        return sorted((each for each in own if each["type"] != "task-sent"), key=itemgetter("timestamp"))

    def first(self, type: str, node: str) -> dict[str, Any] | None:
        return next(
            (each for each in list(self.events) if (each["type"], each["hostname"]) == (type, node)), None
        )

    def types(self, task_id: str) -> list[str]:
        return [event["type"].removeprefix("task-") for event in self.of(task_id)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("parity")
    programs = {
        THEIRS: ["celery", "-A", "parity_jobs", "worker", "--without-gossip", "--without-mingle"],
        OURS: ["taskyard.cli.main", "-A", "parity_jobs", "worker"],
    }
    with RedisServer() as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        client = celery.Celery("client", broker=url, backend=url, set_as_current=False)
        client.conf.task_send_sent_event = True
        pair = Pair(url, client, {node: directory / node for node in programs})
        with client.connection_for_read() as connection:
            receiver = client.events.Receiver(
                connection, handlers={"*": lambda event: pair.events.append(dict(event))}
            )
            listener = threading.Thread(target=pair.capture, args=(receiver,), daemon=True)
            listener.start()
            with redis.Redis(port=server.port) as store:
                wait_until(lambda: any(int(each["psub"]) for each in store.client_list()), what="listening")
            processes = []
            for node, program in programs.items():
                environment = {
                    **os.environ,
                    "PYTHONPATH": str(APPS),
                    "LIBRARY": "celery" if node == THEIRS else "taskyard",
                    "URL": url,
                    "MARKS": str(directory),
                }
                command = [sys.executable, "-m", *program, "-c", "4", "-n", node, "-Q", QUEUES[node]]
                with pair.logs[node].open("wb") as log:
                    processes.append(
                        subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=directory)
                    )
            try:
                wait_until(
                    lambda: {THEIRS, OURS} <= {event["hostname"] for event in pair.events}, what="both online"
                )
                for node in QUEUES:
                    wait_until(lambda node=node: client.control.ping([node], timeout=5), what=node)  # type: ignore[misc]
                client.control.enable_events(reply=True, timeout=60, limit=2)
                yield pair
            finally:
                for process in processes:
                    process.terminate()
                for process in processes:
                    try:
                        process.wait(60)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()
                receiver.should_stop = True
                listener.join(30)
        client.close()
