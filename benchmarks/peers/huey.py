"""huey as a project uses it; it has no call that sends many tasks at once."""

import time

from huey import RedisHuey

from benchmarks.given import ANSWER, BROKER
from benchmarks.ticks import done, tick

huey = RedisHuey("bench", url=BROKER)


@huey.task()
def work() -> int | None:
    tick()
    return ANSWER


@huey.task()
def nap(index: int, seconds: float) -> None:
    time.sleep(seconds)
    done(index)


def send() -> None:
    work()


def send_nap(index: int, seconds: float) -> None:
    nap(index, seconds)


def ask() -> None:
    assert work()(blocking=True, timeout=30) == ANSWER
