"""Tasks with other ideas of acknowledgement."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from taskyard import App, Task
from taskyard.errors import Reject

app = App("delivery", task_max_deliveries=2, worker_deduplicate_successful_tasks="DEDUPLICATE" in os.environ)


def record(what: str) -> int:
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(what + "\n")
    return Path(os.environ["RECORD"]).read_text().splitlines().count(what)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(acks_late=False)
def early(seconds: float = 60) -> str:
    record("begin early")
    time.sleep(seconds)
    return "done"


@app.task(acks_late=False)
def early_reject() -> None:
    record("rejecting")
    raise Reject("no", requeue=True)


@app.task(bind=True, retry_on_worker_lost=True, max_retries=2, default_retry_delay=0)
def lost_then_fine(self: Task[..., Any], losses: int) -> str:
    record(f"run {self.request.retries}")
    if self.request.retries < losses:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"after {self.request.retries} retries"


@app.task(acks_on_timeout=False, time_limit=5)
def times_out_once() -> str:
    if Path(os.environ["RECORD"]).exists():
        record("fast")
        return "in time"
    record("slow")
    time.sleep(60)
    return "never"


@app.task(acks_on_timeout=False, time_limit=0.5)
def times_out() -> None:
    record("too slow")
    time.sleep(60)


@app.task(bind=True)
def done_and_lost(self: Task[..., Any]) -> str:
    """Its result is stored, and then its process is lost."""
    record("ran")
    self.backend.store_result(self.request.id, "first", "SUCCESS")
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"
