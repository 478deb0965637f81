"""The quickstart's tasks: some that sleep, some that compute.

Every run leaves two lines in a Redis list, one when it starts and one when it ends, so that the demo can
prove what happened: a task without a start was lost, one with two starts ran twice, and one that started
and never ended was interrupted. An ordinary task module needs nothing of this.
"""

import functools
import json
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import redis

from taskyard import App

app = App("quickstart")

LEDGER_KEY = os.environ.get("LEDGER_KEY", "ledger")


@functools.cache
def ledger() -> "redis.Redis":
    """One connection for each process, made when its first task runs."""
    return redis.Redis.from_url(os.environ["LEDGER_URL"])


def recorded(task: Callable[..., Any]) -> Callable[..., Any]:
    """Write a line to the ledger before and after the task's own work."""

    @functools.wraps(task)
    def run(self: Any, *args: Any) -> Any:
        note = {"id": self.request.id, "pod": socket.gethostname(), "version": os.environ.get("VERSION", "")}
        ledger().rpush(LEDGER_KEY, json.dumps({**note, "event": "start", "at": time.time()}))
        result = task(self, *args)
        ledger().rpush(LEDGER_KEY, json.dumps({**note, "event": "end", "at": time.time()}))
        return result

    return run


@app.task(bind=True, name="quickstart.nap")
@recorded
def nap(self: Any, seconds: float) -> float:
    """Sleep: a task that waits for somebody else's service."""
    time.sleep(seconds)
    return seconds


@app.task(bind=True, name="quickstart.primes")
@recorded
def primes(self: Any, below: int) -> int:
    """Count the primes below a number: a task that needs the processor."""
    sieve = bytearray([1]) * below
    sieve[:2] = b"\0\0"
    for candidate in range(2, int(below**0.5) + 1):
        if sieve[candidate]:
            sieve[candidate * candidate :: candidate] = bytes(
                len(range(candidate * candidate, below, candidate))
            )
    return sum(sieve)
