"""RQ as a project uses it."""

import time

from redis import Redis
from rq import Queue

from benchmarks.given import ANSWER, BROKER, RESULTS
from benchmarks.ticks import done, tick

queue = Queue(connection=Redis.from_url(BROKER))
#: Without it a result is kept for 500 seconds.
KEEP = None if RESULTS else 0


def work() -> int | None:
    tick()
    return ANSWER


def nap(index: int, seconds: float) -> None:
    time.sleep(seconds)
    done(index)


def send() -> None:
    queue.enqueue(work, result_ttl=KEEP)


def send_nap(index: int, seconds: float) -> None:
    queue.enqueue(nap, index, seconds)


def send_many(count: int) -> None:
    queue.enqueue_many([Queue.prepare_data(work, result_ttl=KEEP) for _ in range(count)])


def ask() -> None:
    result = queue.enqueue(work).latest_result(timeout=30)
    assert result is not None
    assert result.return_value == ANSWER
