"""Two schedulers of one app: with Celery each sends everything, so each task runs twice.

What is tested here is what client and worker do about it: a task with `Once` runs once, however many
schedulers send it.  What is left is the scheduler itself: several of them with one leader, so that none is a
single point of failure, and one id for each entry and moment, so that no task needs a rule of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conformance.conftest import MakeCluster
from tests.conformance.pains.harness import APPS, Cluster, wait_until


@contextmanager
def beats(made: Cluster, count: int) -> Iterator[None]:
    program = "celery" if made.side == "celery" else "taskyard.cli.main"
    own = {"PYTHONPATH": str(APPS), "RECORD": str(made.record), "SIDE": made.side, "TICK": "3", "WORKER": ""}
    environment = {**os.environ, **made.environment, **own}
    running = []
    for number in range(count):
        # Each with a file of its own, as in two pods.
        file = ["-s", str(made.directory / f"schedule{number}")]
        pid = ["--pidfile="] if made.side == "celery" else []
        command = [sys.executable, "-m", program, "-A", "pains", "beat", *file, *pid]
        running.append(subprocess.Popen(command, env=environment))
    try:
        yield
    finally:
        for each in running:
            each.terminate()
            each.wait(60)


@pytest.mark.slow
def test_17_what_two_schedulers_send_runs_once(cluster: MakeCluster) -> None:
    made = cluster()
    made.start()
    with beats(made, 2):
        wait_until(lambda: made.count("begin")["tick"] >= 2, what="two runs")
        started = time.monotonic()
        if made.hurts:
            wait_until(lambda: made.count("begin")["tick"] >= 6, what="six runs")
            rounds = 1 + (time.monotonic() - started) / 3
            assert made.count("begin")["tick"] > rounds + 1
        else:
            time.sleep(7)
            rounds = 2 + (time.monotonic() - started) / 3
            assert 3 <= made.count("begin")["tick"] <= rounds + 1
