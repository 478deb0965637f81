"""The HTTP endpoint: who may ask, who may command, what is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.worker.harness import Broker, StartWorker, wait_until

pytestmark = pytest.mark.redis


def test_state_has_the_contract_s_fields(redis_broker: Broker, start_worker: StartWorker) -> None:
    worker = start_worker(redis_broker, "-c", "3", "-Q", "a,b")
    state = worker.state()
    assert set(state) == {
        "state", "consuming", "slots", "busy", "held", "started", "finished", "failed", "malformed",
        "busySeconds", "oldestTaskSeconds", "queues", "uptimeSeconds", "node", "brokerConnected",
    }  # fmt: skip
    assert (state["state"], state["slots"], state["queues"], state["node"]) == (
        "running",
        3,
        ["a", "b"],
        "w0",
    )
    assert state["oldestTaskSeconds"] is None


def test_busy_time_counts_while_tasks_run(redis_broker: Broker, start_worker: StartWorker) -> None:
    from taskyard import App

    worker = start_worker(redis_broker)
    App("c", broker=redis_broker.url).send_task("jobs.mark", ("x", 120.0))
    state = wait_until(lambda: (now := worker.state())["busySeconds"] > 1 and now, what="busy")
    assert (state["busy"], state["held"], state["started"], state["finished"]) == (1, 1, 1, 0)
    assert state["oldestTaskSeconds"] == pytest.approx(state["busySeconds"], abs=0.001)
    worker.open_gate()
    wait_until(lambda: worker.state()["finished"] == 1, what="the end")
    assert worker.state()["busySeconds"] >= state["busySeconds"]


def test_commands_need_the_token(redis_broker: Broker, start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker(redis_broker)
    assert worker.request("POST", "/drain", token=None)[0] == 401
    assert worker.request("POST", "/drain", token="wrong")[0] == 401
    assert worker.state()["state"] == "running"
    (tmp_path / "token").write_text("another\n")
    assert worker.request("POST", "/drain")[0] == 401
    assert worker.request("POST", "/drain", token="another")[0] == 200
    assert worker.request("POST", "/nothing", token="another")[0] == 404
    assert worker.request("GET", "/nothing")[0] == 404


def test_without_a_token_file_commands_are_refused(redis_broker: Broker, start_worker: StartWorker) -> None:
    worker = start_worker(redis_broker, environment={"TASKYARD_TOKEN_FILE": ""})
    status, answer = worker.request("POST", "/drain")
    assert status == 403
    assert "TASKYARD_TOKEN_FILE" in answer["error"]


def test_metrics_count_by_state(redis_broker: Broker, start_worker: StartWorker) -> None:
    from taskyard import App

    worker = start_worker(redis_broker)
    app = App("c", broker=redis_broker.url, backend=redis_broker.backend)
    app.send_task("jobs.add", (1, 1)).get(timeout=60)

    def metrics() -> str:
        return str(worker.request("GET", "/metrics")[1])

    wait_until(lambda: 'taskyard_worker_tasks_total{state="success"} 1' in metrics(), what="the task")
    assert "taskyard_worker_slots 2" in metrics()
