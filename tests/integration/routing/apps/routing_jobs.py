"""Tasks that record which worker ran them; the settings come from the environment."""

import json
import os
import time
from pathlib import Path
from typing import Any

from kombu.common import Broadcast

from taskyard import App, Task
from taskyard.broker import sqs
from taskyard.client.queues import Queues
from taskyard.errors import Reject

settings: dict[str, Any] = json.loads(os.environ.get("SETTINGS", "{}"))
broadcasts = settings.pop("broadcasts", [])
app = App("routing_jobs", **settings)
if broadcasts:
    known = Queues(app.conf.task_queues)
    app.conf.task_queues = [*known.values(), *(Broadcast(name) for name in broadcasts)]
if app.conf.task_serializer == "auth":
    app.setup_security()
if "LONGEST_SQS_DELAY" in os.environ:
    sqs.LONGEST_DELAY = int(os.environ["LONGEST_SQS_DELAY"])  # type: ignore[misc]


def record(what: str) -> None:
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(what + "\n")


@app.task(bind=True)
def mark(self: Task[..., Any], name: str) -> str:
    record(f"{self.request.hostname} {name}")
    return name


@app.task
def value(what: Any) -> Any:
    return what


@app.task(bind=True, max_retries=1)
def twice(self: Task[..., Any], name: str) -> None:
    record(f"{self.request.hostname} {name} {self.request.retries}")
    raise self.retry(countdown=0)


@app.task
def reject(name: str) -> None:
    raise Reject(f"no {name}")


@app.task(bind=True)
def sleep(self: Task[..., Any], name: str, seconds: float) -> None:
    """Sleeps so long, or until the test opens the gate."""
    gate, end = Path(os.environ["RECORD"] + "-gate"), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not gate.exists():
        time.sleep(min(left, 0.02))
    record(f"{self.request.hostname} {name}")
