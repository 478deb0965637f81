"""When a message is acknowledged, and what becomes of it when its task has no good end."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import redis

from taskyard import App
from taskyard.errors import TimeLimitExceeded, WorkerLostError
from tests.integration.pools.conftest import Start
from tests.integration.worker.harness import WorkerProcess, wait_until

pytestmark = pytest.mark.redis


def unacked(url: str) -> int:
    connection: Any = redis.Redis.from_url(url)
    count: int = connection.hlen("unacked")
    return count


def kill_child(worker: WorkerProcess, what: str) -> None:
    wait_until(lambda: what in worker.ran(), what=what)
    (child,) = worker.children()
    os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("pool", ["prefork", "asyncio"])
def test_without_acks_late_a_message_is_acknowledged_when_it_begins(
    pool: str, url: str, client: App, start: Start
) -> None:
    worker = start("-P", pool, "-c", "1", app="delivery")
    early = client.send_task("delivery.early")
    wait_until(lambda: "begin early" in worker.ran())
    wait_until(lambda: unacked(url) == 0, what="the acknowledgement")
    waiting = client.send_task("delivery.add", (1, 2))
    kill_child(worker, "begin early")
    with pytest.raises(WorkerLostError):
        early.get(timeout=60)
    assert waiting.get(timeout=60) == 3, "what had not begun is not lost"
    assert worker.count() == {"begin early": 1}


def test_an_early_task_ends_well_and_is_not_settled_twice(client: App, start: Start) -> None:
    worker = start("-c", "1", app="delivery")
    results = [client.send_task("delivery.early", (0.3,)), client.send_task("delivery.early_reject")]
    assert results[0].get(timeout=60) == "done"
    wait_until(lambda: worker.count()["rejecting"] == 1)
    assert client.send_task("delivery.add", (1, 2)).get(timeout=60) == 3
    assert worker.count()["rejecting"] == 1
    assert worker.stop() == 0
    assert "Traceback" not in worker.text()


def test_a_lost_process_is_retried_where_the_task_says_so(client: App, start: Start) -> None:
    worker = start("-c", "1", app="delivery")
    result = client.send_task("delivery.lost_then_fine", (2,))
    assert result.get(timeout=60) == "after 2 retries"
    final = client.send_task("delivery.lost_then_fine", (9,))
    with pytest.raises(WorkerLostError):
        final.get(timeout=60)
    assert worker.count() == {"run 0": 2, "run 1": 2, "run 2": 2}


def test_a_timeout_that_is_not_acknowledged_is_delivered_again(client: App, start: Start) -> None:
    worker = start("-c", "1", app="delivery")
    result = client.send_task("delivery.times_out_once")
    assert result.get(timeout=60) == "in time"
    assert worker.count() == {"slow": 1, "fast": 1}
    never = client.send_task("delivery.times_out")
    with pytest.raises(TimeLimitExceeded):
        never.get(timeout=90)
    limits = f"Hard time limit (0.5s) exceeded for delivery.times_out[{never.id}]"
    assert worker.text().count(limits) == 2, "task_max_deliveries"


def test_a_redelivered_message_that_was_done_is_not_run_again(url: str, client: App, start: Start) -> None:
    worker = start("-c", "1", app="delivery", environment={"DEDUPLICATE": "1"})
    result = client.send_task("delivery.done_and_lost")
    wait_until(lambda: worker.count()["ran"] == 1)
    wait_until(lambda: "Task already completed successfully: delivery.done_and_lost" in worker.text())
    assert result.get(timeout=60) == "first"
    assert worker.count() == {"ran": 1}
    wait_until(lambda: unacked(url) == 0, what="the acknowledgement")
