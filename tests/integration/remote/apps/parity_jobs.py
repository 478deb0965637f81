"""The same tasks for a worker of Celery and for one of ours: LIBRARY says which."""

# mypy: disable-error-code="untyped-decorator"

import os
import signal
import time
from pathlib import Path
from typing import Any

if os.environ["LIBRARY"] == "celery":
    from celery import Celery as App
    from celery.exceptions import Ignore, Reject
else:
    from taskyard import App
    from taskyard.exceptions import Ignore, Reject

app: Any = App("parity_jobs", broker=os.environ["URL"], backend=os.environ["URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=False,
    worker_prefetch_multiplier=2,
    worker_enable_remote_control=True,
    worker_pool_restarts=True,
)


def first_time(task: Any) -> bool:
    mark = Path(os.environ["MARKS"]) / task.request.id
    if mark.exists():
        return False
    mark.touch()
    return True


def end_process() -> None:
    time.sleep(0.3)  # until the parent knows that the task has begun: Celery's runs it again unseen otherwise
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(rate_limit="1000/s")
def add(x: int, y: int) -> int:
    return x + y


@app.task
def fail() -> None:
    raise ValueError("no")


@app.task(acks_on_failure_or_timeout=False)
def unacked() -> None:
    raise ValueError("no")


@app.task(bind=True, default_retry_delay=0)
def retry(self: Any) -> str:
    if self.request.retries:
        return "second"
    raise self.retry(exc=KeyError("once"))


@app.task
def ignore() -> None:
    raise Ignore


@app.task
def reject() -> None:
    raise Reject("unwanted")


@app.task(bind=True)
def requeue(self: Any) -> str:
    if first_time(self):
        raise Reject("not now", requeue=True)
    return "now"


@app.task(time_limit=1)
def over() -> None:
    time.sleep(60)


@app.task
def nap(seconds: float) -> None:
    time.sleep(seconds)


@app.task
def die() -> None:
    end_process()


@app.task(bind=True, reject_on_worker_lost=True)
def die_once(self: Any) -> str:
    if first_time(self):
        end_process()
    return "alive"


@app.task(bind=True, retry_on_worker_lost=True, default_retry_delay=0, max_retries=1)
def die_retried(self: Any) -> str:
    if not self.request.retries:
        end_process()
    return "alive"


@app.task(bind=True)
def progress(self: Any) -> None:
    self.send_event("task-progress", percent=50)


@app.task(send_events=False)
def silent() -> str:
    return "shh"
