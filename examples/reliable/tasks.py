"""What tasks need in production: retries, limits of time, what becomes of failures, locks, routes."""

import os
import time
from functools import cache
from typing import Any

import redis

from taskyard import App, Task
from taskyard.exceptions import Reject, SoftTimeLimitExceeded
from taskyard.limits import Limits, Lock, NotAdmitted, Once, Rate
from taskyard.schedules import crontab
from taskyard.signals import task_failure
from taskyard.utils.log import get_task_logger

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = App("reliable", broker=os.environ.get("BROKER_URL", REDIS_URL), backend=REDIS_URL)
app.conf.update(
    task_routes={"mail.*": {"queue": "mail"}, "report.*": {"queue": "reports"}},
    task_time_limit=300,
    task_soft_time_limit=270,
    worker_max_tasks_per_child=1000,
    worker_max_memory_per_child=200_000,
    limits_url=REDIS_URL,
    beat_schedule={
        "weekly-report": {
            "task": "report.weekly",
            "schedule": crontab(hour=3, minute=0, day_of_week="sun"),
            "args": ("all",),
        },
        "ping": {"task": "mail.ping", "schedule": 30.0},
    },
)
logger = get_task_logger(__name__)


@cache
def store() -> Any:
    """One connection for each process."""
    return redis.Redis.from_url(REDIS_URL, decode_responses=True)


@task_failure.connect
def count_failures(sender: Any = None, task_id: str | None = None, **_: Any) -> None:
    """Every final failure, of whichever task."""
    store().hincrby("failures", sender.name)


class Recorded(Task[..., Any]):
    """A base class: whatever derives from it leaves its final failures in a list."""

    autoretry_for = (ConnectionError,)
    retry_backoff = True
    retry_backoff_max = 600
    retry_jitter = True
    max_retries = 3

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        store().rpush("failed", f"{self.name}{tuple(args)}: {exc!r}")
        super().on_failure(exc, task_id, args, kwargs, einfo)


@app.task(name="mail.send", base=Recorded, bind=True, retry_backoff=0.05, retry_jitter=False)
def send_mail(self: Task[..., Any], address: str) -> int:
    """Retried by itself when the connection fails; returns how often that was."""
    if address.startswith("flaky") and self.request.retries < 2:
        raise ConnectionError("try again")
    if address.startswith("wrong"):
        raise ValueError("no such address")  # not transient: fails at once
    return int(self.request.retries)


@app.task(name="mail.strict", bind=True, max_retries=1)
def send_strictly(self: Task[..., Any], address: str) -> None:
    """Out of retries, the message itself goes to the dead-letter queue, where it can be replayed from."""
    try:
        raise ConnectionError(f"{address} is away")
    except ConnectionError as error:
        if self.request.retries >= 1:
            raise Reject(error, requeue=False) from error
        raise self.retry(exc=error, countdown=0.1) from None


@app.task(name="mail.ping")
def ping() -> str:
    return "pong"


@app.task(name="report.weekly", soft_time_limit=0.5, time_limit=30)
def weekly(what: str) -> str:
    """Tidies up when its soft limit passes."""
    try:
        time.sleep(60 if what == "all" else 0)
    except SoftTimeLimitExceeded:
        logger.warning("the report on %s takes too long", what)
        return "partly"
    return "complete"


@app.task(name="pay", limits=[Once("{order}", window=3600), Lock("account:{account}"), Rate(50, key="bank")])
def pay(order: int, account: str) -> None:
    """One payment for an order, one at a time for an account, 50 a second for the bank."""
    store().rpush("paid", f"{order}:{account}")


@app.task(name="rebuild")
def rebuild(resource: str) -> str:
    """A lock by hand: who comes second does not wait."""
    try:
        with Limits(app).lock(f"rebuild:{resource}", lease=30):
            time.sleep(1)
            return "rebuilt"
    except NotAdmitted:
        logger.info("%s is being rebuilt already", resource)
        return "already running"
