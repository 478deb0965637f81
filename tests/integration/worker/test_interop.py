"""Celery's client with our worker, our client with Celery's worker."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import celery
import celery.exceptions
import pytest

from taskyard import App
from taskyard.errors import NotRegistered
from taskyard.errors import TimeoutError as ResultTimeout
from tests.integration.worker.harness import APPS, Broker, StartWorker, wait_until

WAIT = 60


def test_a_celery_client_gets_what_our_worker_returns(
    broker: Broker, celery_client: celery.Celery, start_worker: StartWorker
) -> None:
    start_worker(broker)
    assert celery_client.send_task("jobs.add", (2, 3)).get(timeout=WAIT) == 5
    sent = celery_client.send_task("jobs.echo", ("ä", None, 1.5), {"key": [1, {"b": True}]})
    assert sent.get(timeout=WAIT) == [["ä", None, 1.5], {"key": [1, {"b": True}]}]
    assert sent.state == "SUCCESS"
    assert sent.children == []
    assert celery_client.send_task("jobs.classy", (4,)).get(timeout=WAIT) == 8


def test_extended_types_survive_both_ways(
    broker: Broker, celery_client: celery.Celery, start_worker: StartWorker
) -> None:
    start_worker(broker)
    moment = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
    assert celery_client.send_task("jobs.tomorrow", (moment,)).get(timeout=WAIT) == moment.replace(day=5)
    values = [Decimal("1.10"), uuid.UUID(int=5), b"\xff\x00", moment.date()]
    assert celery_client.send_task("jobs.echo", values).get(timeout=WAIT) == [values, {}]


def test_exceptions_arrive_as_themselves_with_their_traceback(
    broker: Broker, celery_client: celery.Celery, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    failed = celery_client.send_task("jobs.fail", ("bad",))
    with pytest.raises(ValueError, match="bad"):
        failed.get(timeout=WAIT)
    assert failed.state == "FAILURE"
    assert "in fail" in failed.traceback
    with pytest.raises(celery.exceptions.NotRegistered):
        celery_client.send_task("jobs.nowhere").get(timeout=WAIT)
    with pytest.raises(SystemExit):
        celery_client.send_task("jobs.leave").get(timeout=WAIT, propagate=True)
    wait_until(lambda: len(worker.children()) == 2, what="both children")


def test_retries_keep_the_id_and_end_in_success(
    broker: Broker, celery_client: celery.Celery, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    assert celery_client.send_task("jobs.third_time").get(timeout=WAIT) == 2
    assert worker.ran() == ["try 0", "try 1", "try 2"]


def test_autoretry_gives_up_with_the_task_s_own_error(
    broker: Broker, celery_client: celery.Celery, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    with pytest.raises(KeyError):
        celery_client.send_task("jobs.always_key_error").get(timeout=WAIT)
    assert worker.ran() == ["attempt"] * 3


def test_a_chain_made_by_celery_runs_through(
    broker: Broker, celery_client: celery.Celery, start_worker: StartWorker
) -> None:
    start_worker(broker)
    chain = celery.chain(
        celery_client.signature("jobs.add", (1, 2)),
        celery_client.signature("jobs.add", (10,)),
        celery_client.signature("jobs.add", (100,)),
    )
    result = chain.apply_async()
    assert result.get(timeout=WAIT) == 113
    assert result.parent.get(timeout=WAIT) == 13
    assert result.parent.parent.get(timeout=WAIT) == 3
    assert result.parent.parent.children[0].id == result.parent.id


def test_a_failure_fails_the_rest_of_the_chain(
    broker: Broker, celery_client: celery.Celery, start_worker: StartWorker
) -> None:
    start_worker(broker)
    chain = celery.chain(
        celery_client.signature("jobs.fail", ("first",)), celery_client.signature("jobs.add", (10,))
    )
    with pytest.raises(ValueError, match="first"):
        chain.apply_async().get(timeout=WAIT)


def test_links_and_error_links_run(
    broker: Broker, celery_client: celery.Celery, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    link = celery_client.signature("jobs.mark", (), immutable=False)
    celery_client.send_task(
        "jobs.echo", ("x",), link=celery_client.signature("jobs.mark", ("linked",), immutable=True)
    )
    wait_until(lambda: "linked" in worker.ran(), what="the link")
    assert link is not None
    failed = celery_client.send_task("jobs.fail", link_error=celery_client.signature("jobs.on_error"))
    wait_until(lambda: f"errback {failed.id}" in worker.ran(), what="the error link")
    failed = celery_client.send_task(
        "jobs.fail", link_error=celery_client.signature("jobs.on_error_with_everything")
    )
    wait_until(lambda: any(failed.id in line for line in worker.ran()), what="the inline error link")


def test_a_chord(broker: Broker, celery_client: celery.Celery, start_worker: StartWorker) -> None:
    start_worker(broker)
    chord = celery.chord([celery_client.signature("jobs.add", (n, 1)) for n in range(2)], app=celery_client)(
        celery_client.signature("jobs.echo")
    )
    assert chord.get(timeout=WAIT) == [[[1, 2]], {}]


def test_children_are_listed(broker: Broker, celery_client: celery.Celery, start_worker: StartWorker) -> None:
    start_worker(broker)
    parent = celery_client.send_task("jobs.parent_task")
    child_id = parent.get(timeout=WAIT)
    assert [child.id for child in parent.children] == [child_id]
    assert celery_client.AsyncResult(child_id).get(timeout=WAIT) == 2


def test_a_started_task_says_where(
    broker: Broker, celery_client: celery.Celery, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    result = celery_client.send_task("jobs.tracked", (120.0,))
    wait_until(lambda: result.state == "STARTED", what="STARTED")
    assert result.info["pid"] in worker.children()
    worker.open_gate()
    assert result.get(timeout=WAIT) == "done"


def test_ignored_results_are_not_stored(
    broker: Broker, celery_client: celery.Celery, client: App, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    quiet = celery_client.send_task("jobs.mark", ("quiet",), ignore_result=True)
    assert celery_client.send_task("jobs.add", (1, 1)).get(timeout=WAIT) == 2
    wait_until(lambda: "quiet" in worker.ran(), what="the quiet task")
    assert client.AsyncResult(quiet.id).state == "PENDING"


def test_ignore_and_reject(broker: Broker, celery_client: celery.Celery, start_worker: StartWorker) -> None:
    worker = start_worker(broker)
    ignored = celery_client.send_task("jobs.ignore")
    rejected = celery_client.send_task("jobs.reject")
    wait_until(lambda: worker.state()["finished"] == 2 and worker.state()["held"] == 0, what="both")
    assert (ignored.state, rejected.state) == ("PENDING", "FAILURE")


def test_our_client_with_our_worker(broker: Broker, client: App, start_worker: StartWorker) -> None:
    start_worker(broker)
    result = client.send_task("jobs.add", (20, 22))
    assert result.get(timeout=WAIT) == 42
    assert result.successful()
    with pytest.raises(ValueError, match="because"):
        client.send_task("jobs.fail", ("because",)).get(timeout=WAIT)
    with pytest.raises(NotRegistered):
        client.send_task("jobs.nowhere").get(timeout=WAIT)
    with pytest.raises(ResultTimeout):
        client.send_task("jobs.add", (1, 1), queue="nobody").get(timeout=0.2)


def test_our_client_with_a_celery_worker(broker: Broker, client: App, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(APPS), "BROKER": broker.url, "BACKEND": broker.backend}
    command = [sys.executable, "-m", "celery", "-A", "celery_jobs", "worker", "-c", "1", "--without-mingle"]
    with (tmp_path / "log").open("wb") as log:
        celery_worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
    try:
        assert client.send_task("celery_jobs.add", (2, 3)).get(timeout=WAIT) == 5
        moment = datetime(2026, 5, 4, tzinfo=UTC)
        assert client.send_task("celery_jobs.echo", (moment, Decimal("2.5")), countdown=0.5).get(
            timeout=WAIT
        ) == [
            moment,
            Decimal("2.5"),
        ]
        with pytest.raises(ValueError, match="from celery"):
            client.send_task("celery_jobs.fail", time_limit=30, soft_time_limit=20, priority=3).get(
                timeout=WAIT
            )
        linked = client.send_task(
            "celery_jobs.add",
            (1, 1),
            link={"task": "celery_jobs.add", "args": [5], "kwargs": {}, "options": {"task_id": "linked"},
                  "subtask_type": None, "immutable": False},
        )  # fmt: skip
        assert linked.get(timeout=WAIT) == 2
        assert client.AsyncResult("linked").get(timeout=WAIT) == 7
        expired = client.send_task("celery_jobs.add", (1, 1), expires=-1)
        with pytest.raises(Exception, match="expired"):
            expired.get(timeout=WAIT)
    finally:
        celery_worker.kill()
        celery_worker.wait(30)


def test_a_celery_worker_and_ours_share_a_queue(
    redis_broker: Broker, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker(redis_broker)
    app = App("shared", broker=redis_broker.url, backend=redis_broker.backend)
    results = [app.send_task("jobs.add", (n, n)) for n in range(50)]
    assert [result.get(timeout=WAIT) for result in results] == [2 * n for n in range(50)]
    assert worker.stop() == 0
