"""Celery as a project uses it; in one variant over Taskyard's Redis transport."""

import time

from celery import Celery, group

from benchmarks.given import ANSWER, BROKER, RESULTS, VARIANT
from benchmarks.ticks import done, tick

broker = BROKER
if VARIANT == "taskyard-transport":
    import taskyard.contrib.redis_transport  # noqa: F401  registers the scheme

    broker = f"taskyard-{BROKER}"

app = Celery("bench", broker=broker, backend=RESULTS)
app.conf.task_acks_late = VARIANT == "acks-late"


@app.task
def work() -> int | None:
    tick()
    return ANSWER


@app.task
def nap(index: int, seconds: float) -> None:
    time.sleep(seconds)
    done(index)


def send() -> None:
    work.delay()


def send_nap(index: int, seconds: float) -> None:
    nap.delay(index, seconds)


def send_many(count: int) -> None:
    group(work.s() for _ in range(count)).apply_async()


def ask() -> None:
    assert work.delay().get(timeout=30) == ANSWER
