"""Taskyard as a project uses it."""

import time

from benchmarks.given import ANSWER, BROKER, RESULTS
from benchmarks.ticks import done, tick
from taskyard import App

app = App("bench", broker=BROKER, backend=RESULTS)


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
    app.send_tasks([(work,)] * count)


def ask() -> None:
    assert work.delay().get(timeout=30) == ANSWER
