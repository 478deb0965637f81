"""What hurts Celery's users most, seen on Celery's own worker and gone on ours.

Each test runs on both sides; where a number differs, `cluster.hurts` says which side it is.  The numbers in
the names are those of the list that the worker was designed against.
"""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from tests.conformance.conftest import MakeCluster
from tests.conformance.pains.harness import Cluster, wait_until


@pytest.mark.slow
def test_1_a_countdown_beyond_the_visibility_timeout_runs_many_times(cluster: MakeCluster) -> None:
    made = cluster(VISIBILITY_TIMEOUT="1")
    made.start()
    made.start()
    made.send("run", "later", countdown=6)
    wait_until(lambda: made.count("end")["later"], what="the first run")
    time.sleep(3)  # what is doubled comes at once
    assert made.count("begin")["later"] == 1 or made.hurts
    if made.hurts:
        assert made.count("begin")["later"] > 1


@pytest.mark.slow
def test_2_a_task_longer_than_the_visibility_timeout_runs_again(cluster: MakeCluster) -> None:
    made = cluster(VISIBILITY_TIMEOUT="1")
    made.start()
    made.start()
    made.send("run_late", "long", 6)
    wait_until(lambda: made.count("end")["long"], what="the first run")
    assert (made.count("begin")["long"] > 1) is made.hurts


def test_3_what_a_killed_worker_had_fetched_comes_back(cluster: MakeCluster, redis_url: str) -> None:
    made = cluster()
    first = made.start()
    names = [f"n{number}" for number in range(5)]
    for name in names:
        made.send("run", name, 0.2 if name != "n0" else 30)
    wait_until(lambda: made.count("begin")["n0"], what="the first task")
    if made.hurts:
        store = redis.Redis.from_url(redis_url)
        wait_until(lambda: store.hlen("unacked") == 4, what="all others prefetched")
    first.kill()
    made.start()
    if made.hurts:
        # The running one is lost, the others are hidden for an hour; an autoscaler sees an empty queue.
        time.sleep(5)
        assert not made.count("end")
        assert store.llen("celery") == 0
    else:
        wait_until(lambda: all(made.count("end")[name] for name in names[1:]), what="the others")
        wait_until(lambda: made.count("begin")["n0"] == 2, what="the one that ran")


def test_6_sigterm_to_all_processes_ends_the_running_task(cluster: MakeCluster) -> None:
    made = cluster()
    worker = made.start()
    made.send("run", "x", 60 if made.hurts else 2)
    wait_until(lambda: made.count("begin")["x"], what="the task")
    os.killpg(worker.pid, signal.SIGTERM)
    wait_until(worker.ended, what="the end")
    assert made.count("end")["x"] == (0 if made.hurts else 1)


def test_8_a_busy_worker_does_not_keep_what_an_idle_one_could_do(
    cluster: MakeCluster, redis_url: str
) -> None:
    made = cluster()
    made.start()
    names = [f"n{number}" for number in range(5)]
    for name in names:
        made.send("run", name, 60 if name == "n0" else 0)
    wait_until(lambda: made.count("begin"), what="the first task")
    if made.hurts:
        store = redis.Redis.from_url(redis_url)
        wait_until(lambda: store.hlen("unacked") == 4, what="all others prefetched")
    made.start()
    made.send("run", "last")
    wait_until(lambda: made.count("end")["last"], what="a task after them")
    if made.hurts:
        assert set(made.count("end")) == {"last"}
    else:
        wait_until(lambda: set(made.count("end")) == {*names[1:], "last"}, what="the others")


def test_10_a_task_whose_process_is_killed_runs_again(cluster: MakeCluster) -> None:
    made = cluster()
    worker = made.start()
    made.send("run", "x", 60 if made.hurts else 2)
    wait_until(lambda: made.count("begin")["x"], what="the task")
    _kill(worker.children())
    made.send("run", "after")
    wait_until(lambda: made.count("end")["after"], what="the task after it")
    if made.hurts:
        assert made.count("begin")["x"] == 1
        assert made.count("end")["x"] == 0
    else:
        wait_until(lambda: made.count("end")["x"] == 1, what="the second run")


@pytest.mark.slow
def test_10_a_task_that_kills_every_process_ends(cluster: MakeCluster) -> None:
    made = cluster()
    worker = made.start()
    made.send("run_late", "poison", 60)
    if made.hurts:
        # Acknowledged after its first loss; with reject_on_worker_lost it would be run for ever.
        wait_until(lambda: made.count("begin")["poison"], what="the task")
        _kill(worker.children())
    for runs in () if made.hurts else range(1, 6):
        _wait_for_run(made, runs)
        _kill(worker.children())
    made.send("run", "after")
    wait_until(lambda: made.count("end")["after"], what="the task after it")
    assert made.count("begin")["poison"] == (1 if made.hurts else 5)


def _wait_for_run(made: Cluster, runs: int) -> None:
    wait_until(lambda: made.count("begin")["poison"] == runs, what=f"run {runs}")


def _kill(children: list[int]) -> None:
    for child in children:
        os.kill(child, signal.SIGKILL)


@pytest.mark.slow
def test_11_a_chord_survives_the_loss_of_a_worker(cluster: MakeCluster) -> None:
    made = cluster()
    worker = made.start()
    chord = _chord(made.side)
    signature = made.client.signature
    slow = signature("pains.run", ("header", 3)) | signature("pains.add", (1, 2), immutable=True)
    chord([signature("pains.add", (1, 1)), slow], signature("pains.total"), app=made.client).apply_async()
    wait_until(lambda: made.count("begin")["header"], what="the header's task")
    worker.kill()
    made.start()
    if made.hurts:
        time.sleep(8)
        assert not made.count("total")
    else:
        wait_until(lambda: made.count("total")["5"] == 1, what="the chord's body")


def _chord(side: str) -> Any:
    if side == "celery":
        from celery import chord

        return chord
    from taskyard.canvas import chord as ours

    return ours


def test_13_a_coroutine_function_is_a_task(cluster: MakeCluster) -> None:
    made = cluster()
    made.start()
    sent = made.send("wait", "x")
    if made.hurts:
        with pytest.raises(Exception, match="coroutine"):
            sent.get(timeout=60)
    else:
        assert sent.get(timeout=60) == "x"
    assert made.count("awaited")["x"] == (0 if made.hurts else 1)


def test_18_a_revocation_holds_for_workers_that_start_later(cluster: MakeCluster) -> None:
    made = cluster()
    sent = made.send("run", "revoked")
    made.client.control.revoke(sent.id)
    made.start()
    made.send("run", "after")
    wait_until(lambda: made.count("end")["after"], what="the task after it")
    assert made.count("begin")["revoked"] == (1 if made.hurts else 0)


def test_20_a_busy_worker_can_be_probed(cluster: MakeCluster) -> None:
    made = cluster()
    worker = made.start("-P", "solo")
    made.send("run", "x", 60)
    wait_until(lambda: made.count("begin")["x"], what="the task")
    if made.hurts:
        assert not made.client.control.ping(destination=["w0@test"], timeout=2)
    else:
        assert worker._ready()
    assert not made.count("end")


@pytest.mark.slow
def test_21_a_result_costs_no_extra_look(cluster: MakeCluster, redis_url: str) -> None:
    made = cluster()
    made.start()
    made.send("add", 1, 1).get(timeout=60)
    store = redis.Redis.from_url(redis_url)
    store.config_resetstat()
    results = [made.send("add", number, 1) for number in range(200)]
    assert [result.get(timeout=60) for result in results][-1] == 200
    looks = sum(
        store.info("commandstats").get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("get", "mget")
    )
    # The client looks once; Celery's worker looks once more before it stores.
    assert looks >= 400 if made.hurts else looks < 300


def test_an_expired_task_is_not_run_though_its_worker_was_away(cluster: MakeCluster) -> None:
    made = cluster()
    made.send("run", "stale", expires=datetime.now(UTC) + timedelta(seconds=0.2))
    made.send("run", "fresh", expires=600)
    time.sleep(0.5)
    made.start()
    wait_until(lambda: made.count("end")["fresh"], what="the task that has not expired")
    assert not made.count("begin")["stale"]
