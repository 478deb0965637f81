"""The tasks that the tests of remote control run; each run is recorded in the file $RECORD."""

import os
import time
from pathlib import Path
from typing import Any

from taskyard import App
from taskyard.signals import task_received, task_rejected, task_revoked, task_unknown
from taskyard.worker.control import control_command, inspect_command

app = App("remote_jobs")
if "POOL_RESTARTS" in os.environ:
    app.conf.worker_pool_restarts = True
if "KEY_PREFIX" in os.environ:
    app.conf.broker_transport_options = {"global_keyprefix": os.environ["KEY_PREFIX"]}


def record(what: str) -> None:
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(what + "\n")


if "SIGNALS" in os.environ:

    @task_received.connect
    def on_received(sender: Any, request: Any, **named: Any) -> None:
        record(f"received {request.name} {request.args}")

    @task_revoked.connect
    def on_revoked(
        sender: Any, request: Any, terminated: bool, signum: Any, expired: bool, **named: Any
    ) -> None:
        record(f"revoked {request.name} {terminated} {signum} {expired}")

    @task_unknown.connect
    def on_unknown(sender: Any, message: Any, exc: Any, name: str, id: str, **named: Any) -> None:
        record(f"unknown {name}")

    @task_rejected.connect
    def on_rejected(sender: Any, message: Any, exc: Any, **named: Any) -> None:
        record("rejected")


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def fail() -> None:
    raise ValueError("no")


@app.task
def nap(seconds: float, name: str = "nap") -> str:
    record(f"begin {name}")
    time.sleep(seconds)
    record(f"end {name}")
    return name


@app.task
def limited(number: int) -> int:
    record(f"limited {number}")
    return number


limited.rate_limit = os.environ.get("RATE")


@control_command(args=[("n", int)], signature="[N=1]", name="fetch_more")
def increase_prefetch_count(state: Any, n: int = 1) -> dict[str, Any]:
    """Fetch more."""
    state.consumer.qos.increment_eventually(n)
    return {"ok": "prefetch count incremented"}


@inspect_command(alias="prefetching")
def current_prefetch_count(state: Any) -> dict[str, Any]:
    """How many are fetched."""
    return {"prefetch_count": state.consumer.qos.value}


@app.task(bind=True)
def progress(self: Any) -> None:
    self.send_event("task-progress", percent=50)
