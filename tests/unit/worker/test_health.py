"""The endpoint by itself: it answers from its own thread, whatever the loop does."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from taskyard.errors import ImproperlyConfigured
from taskyard.worker.health import Answer, HealthServer, Views, split_address


class Worker:
    ticked_at = 0.0
    not_ready = ""

    def __init__(self) -> None:
        self.commands: list[str] = []
        views = Views(
            lambda: self.ticked_at,
            lambda: self.not_ready,
            lambda: {"state": "x"},
            lambda: "m 1\n",
            self.command,
        )
        self.server = HealthServer("127.0.0.1:0", views, None)
        self.server.start()

    def command(self, name: str, answered: Callable[[Answer], None]) -> None:
        self.commands.append(name)
        answered(Answer(200, {"did": name}))

    def get(self, path: str, method: str = "GET") -> tuple[int, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.server.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.server.close()


def test_a_loop_that_hangs_is_not_healthy(worker: Worker) -> None:
    worker.ticked_at = monotonic()
    assert worker.get("/healthz")[0] == 200
    worker.ticked_at = monotonic() - 11
    status, body = worker.get("/healthz")
    assert status == 503
    silent = re.search(r"not turned for (\d+) s", body["reason"])
    assert silent
    assert int(silent[1]) >= 11


def test_readiness_has_a_reason(worker: Worker) -> None:
    assert worker.get("/readyz") == (200, {"ready": True})
    worker.not_ready = "the broker is away"
    assert worker.get("/readyz") == (503, {"ready": False, "reason": "the broker is away"})


def test_no_command_without_a_token_file(worker: Worker) -> None:
    assert worker.get("/drain", "POST")[0] == 403
    assert worker.commands == []


@pytest.mark.parametrize("address", ["here", "host:", "host:99999", "host:x"])
def test_addresses(address: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="HOST:PORT"):
        split_address(address)
    assert split_address(":9191") == ("0.0.0.0", 9191)
    assert split_address("[::1]:80") == ("::1", 80)
