"""The tasks of ``make bench-growth``, and its client; runs on Taskyard and on Celery, the same lines.

``python -m benchmarks.growth_app ORDER NUMBER...`` prints what it took as JSON.
"""

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from benchmarks.given import BROKER, RESULTS
from benchmarks.ticks import done, read_done, tick

library: Any = import_module(os.environ["BENCH_PEER"])
App = library.App if library.__name__ == "taskyard" else library.Celery
chord, group = library.chord, library.group

app = App("growth", broker=BROKER, backend=RESULTS)
CHUNK = 10_000


@app.task(name="growth.work", ignore_result=True)
def work(body: str = "") -> None:
    tick()


@app.task(name="growth.mark", ignore_result=True)
def mark(index: int) -> None:
    done(index)


@app.task(name="growth.echo")
def echo(value: int) -> int:
    return value


@app.task(name="growth.total")
def total(values: list[int]) -> None:
    assert values == list(range(len(values)))
    done(len(values))


def fill(count: int, queues: int, size: int) -> None:
    """Many tasks in so many queues with a body of so many bytes; only Taskyard can do that in bulk."""
    body = "x" * size
    for begin in range(0, count, CHUNK):
        end = min(count, begin + CHUNK)
        app.send_tasks([(work, (body,), {}, {"queue": f"q{index % queues}"}) for index in range(begin, end)])


def fill_eta(count: int) -> None:
    """Many tasks that are due in an hour."""
    due = datetime.now(UTC) + timedelta(hours=1)
    for begin in range(0, count, CHUNK):
        app.send_tasks([(work, (), {}, {"queue": "q0", "eta": due})] * min(CHUNK, count - begin))


def mark_last() -> None:
    """A task behind all others of the queue."""
    mark.apply_async((0,), queue="q0")


def ask(count: int) -> dict[str, Any]:
    """Round trips, one at a time."""
    trips = []
    for value in range(count):
        began = perf_counter()
        assert echo.apply_async((value,), queue="q0").get(timeout=60) == value
        trips.append(perf_counter() - began)
    return {"trips": trips}


def revoke(count: int) -> None:
    """Send tasks that were revoked before, and wait for one behind them that was not."""
    ids = [f"revoked-{index}" for index in range(count)]
    app.control.revoke(ids)
    # Its answer says that the worker has read what came before.
    assert app.control.ping(timeout=30, limit=1)
    for each in ids:
        work.apply_async(queue="q0", task_id=each)
    echo.apply_async((1,), queue="q0").get(timeout=120)


def group_of(count: int) -> None:
    found = group(echo.s(value).set(queue="q0") for value in range(count)).apply_async().get(timeout=590)
    assert found == list(range(count))


def chord_of(count: int) -> None:
    """Until the body has run: Celery's client, told to get its result, looks at each part again and again."""
    header = [echo.s(value).set(queue="q0") for value in range(count)]
    chord(header)(total.s().set(queue="q0"))
    while count not in read_done(Path(os.environ["BENCH_TICKS"])):
        sleep(0.01)


ORDERS: dict[str, Callable[..., dict[str, Any] | None]] = {
    each.__name__: each for each in (fill, fill_eta, mark_last, ask, revoke, group_of, chord_of)
}

if __name__ == "__main__":
    order, *numbers = sys.argv[1:]
    began = perf_counter()
    found = ORDERS[order](*map(int, numbers)) or {}
    print(json.dumps({"seconds": perf_counter() - began, **found}))
