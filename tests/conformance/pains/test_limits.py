"""Limits that hold across workers: Celery has none; its rate limit is each worker's own."""

from __future__ import annotations

import time

import pytest

from tests.conformance.conftest import MakeCluster
from tests.conformance.pains.harness import Cluster, wait_until


def two_workers(made: Cluster) -> None:
    made.launch()
    made.start()
    made.workers[0].await_readiness()


@pytest.mark.slow
def test_19_a_rate_holds_for_all_workers_together(cluster: MakeCluster) -> None:
    made = cluster()
    two_workers(made)
    for number in range(9):
        made.send("rated", f"n{number}")  # one a second
    started = wait_until(lambda: made.count("begin") and time.monotonic(), what="the first")
    wait_until(lambda: made.count("begin").total() == 9, what="all of them")
    took = time.monotonic() - started
    assert (took < 7.5) is made.hurts, took


def test_19_the_same_work_is_done_once(cluster: MakeCluster) -> None:
    made = cluster()
    for _ in range(3):
        made.send("unique", "order-7")
    two_workers(made)
    made.send("run", "after")
    wait_until(lambda: made.count("end")["after"], what="the task after it")
    wait_until(lambda: made.count("begin")["order-7"] == (3 if made.hurts else 1), what="the work")


def test_19_one_at_a_time_for_each_key(cluster: MakeCluster) -> None:
    made = cluster()
    two_workers(made)
    # One of Celery's workers may have taken all of them.
    for rounds in range(1, 11 if made.hurts else 2):
        for _ in range(4):
            made.send("alone", "account-7", 0.5)
        wait_until(lambda rounds=rounds: made.count("end").total() == 4 * rounds, what="all of them")  # type: ignore[misc]
        in_turn = [line.split()[0] for line in made.recorded()] == ["begin", "end"] * 4 * rounds
        if not in_turn:
            break
    assert in_turn is not made.hurts
