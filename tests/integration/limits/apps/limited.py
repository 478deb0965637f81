"""Tasks with limits; each run leaves lines in the file $RECORD."""

import os
import time
from pathlib import Path
from typing import Any

from taskyard import App, Task
from taskyard.limits import Concurrency, Lock, Once, Rate, current_lease

app = App("limited")


def record(what: str) -> None:
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(what + "\n")


@app.task(limits=[Once("{order}", window=600)])
def receipt(order: int, seconds: float = 0.0) -> int:
    record(f"receipt {order}")
    time.sleep(seconds)
    return order


@app.task(limits=[Concurrency(2, key="tenant:{tenant}", retry_after=0.3)])
def crawl(tenant: str) -> None:
    record(f"{tenant} in")
    # The first one waits for another to be admitted beside it, which takes as long as it takes.
    end = time.monotonic() + 30
    while Path(os.environ["RECORD"]).read_text().count(f"{tenant} in") < 2 and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.3)
    record(f"{tenant} out")


@app.task(limits=[Rate(10, key="api")])
def call(number: int) -> None:
    record(f"call {number}")


@app.task(bind=True, limits=[Lock("account:{account}", lease=8, retry_after=0.3)])
def book(self: Task[..., Any], account: str, seconds: float = 0.0) -> int:
    lease = current_lease()
    assert lease is not None
    record(f"book {lease.token}")
    if not (self.request.delivery_info or {}).get("redelivered"):  # it may have the lock before the other one
        time.sleep(seconds)
    return lease.token


@app.task
def plain(value: Any) -> Any:
    return value
