"""The tasks that the tests of remote control run; each run is recorded in the file $RECORD."""

import os
import time
from pathlib import Path
from typing import Any

from taskyard import App
from taskyard.worker.control import control_command, inspect_command

app = App("remote_jobs")


def record(what: str) -> None:
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(what + "\n")


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
