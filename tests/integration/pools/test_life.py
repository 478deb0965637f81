"""A worker's life: its signals, its ends, its own steps, its options and its log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kombu import Connection

from taskyard import App
from tests.integration.pools.conftest import APPS, Start
from tests.integration.worker.harness import WorkerProcess, wait_until

pytestmark = pytest.mark.redis


def begin_long(client: App, worker: WorkerProcess, seconds: float, times: int = 1) -> None:
    client.send_task("pooltasks.long", (seconds,))
    wait_until(lambda: worker.count()["begin long"] == times)


def test_signals_of_the_worker_s_life_come_in_order(client: App, start: Start) -> None:
    worker = start("-c", "1", app="hooked")
    assert client.send_task("hooked.prefetch").get(timeout=60) == 3, "celeryd_init can change settings"
    wait_until(lambda: "heartbeat_sent Remote " in worker.ran())
    assert worker.stop() == 0
    lines = [line for line in worker.ran() if not line.startswith("heartbeat_sent")]
    assert [line for line in lines if not line.startswith("process_")] == [
        "import_modules App ",
        "celeryd_init str conf,instance,options",
        "after_setup_logger NoneType colorize,format,logfile,logger,loglevel",
        "after_setup_task_logger NoneType colorize,format,logfile,logger,loglevel",
        "celeryd_after_setup str conf,instance",
        "init Worker ",
        "before_create_process PreforkPool ",
        "ready Consumer ",
        "shutting_down str exitcode,how,sig",
        "shutdown Worker ",
    ]
    assert [line for line in lines if line.startswith("process_")] == [
        "process_init str ",
        "process_shutdown str exitcode,pid",
    ]


def test_signals_of_the_eventlet_pool(client: App, start: Start) -> None:
    worker = start("-P", "eventlet", "-c", "2", app="hooked")
    assert client.send_task("hooked.add", (1, 2)).get(timeout=60) == 3
    assert worker.stop() == 0
    assert [line for line in worker.ran() if line.startswith("eventlet")] == [
        "eventlet_pool_started EventletLane ",
        "eventlet_pool_apply EventletLane args,kwargs,target",
        "eventlet_pool_preshutdown EventletLane ",
        "eventlet_pool_postshutdown EventletLane ",
    ]
    assert [line for line in worker.ran() if line.startswith("process_")] == [
        "process_init str ",
        "process_shutdown str exitcode,pid",
    ]


def test_a_soft_shutdown_waits_and_then_gives_back(client: App, start: Start) -> None:
    worker = start("-c", "2", environment={"SETTINGS": "worker_soft_shutdown_timeout=6"})
    begin_long(client, worker, 0.5)
    begin_long(client, worker, 120, 2)
    worker.signal(signal.SIGQUIT)
    assert worker.wait(60) == 0
    assert worker.count()["end long"] == 1
    text = worker.text()
    assert "Initiating Soft Shutdown, terminating in 6 seconds" in text
    assert "worker: Cold shutdown (MainProcess)" in text
    assert "Restoring 1 unacknowledged message(s)" in text


def test_sigterm_can_mean_sigquit_and_an_idle_worker_ends_at_once(client: App, start: Start) -> None:
    worker = start(
        "-c", "1", environment={"REMAP_SIGTERM": "SIGQUIT", "SETTINGS": "worker_soft_shutdown_timeout=600"}
    )
    assert worker.stop() == 0
    assert "Cold shutdown" in worker.text()
    assert "Soft" not in worker.text()


def test_interrupting_twice_ends_what_runs(client: App, start: Start) -> None:
    worker = start("-c", "1")
    begin_long(client, worker, 120)
    worker.signal(signal.SIGINT)
    wait_until(lambda: "worker: Warm shutdown (MainProcess)" in worker.text())
    worker.signal(signal.SIGINT)
    assert worker.wait(60) == 0
    assert "worker: Cold shutdown (MainProcess)" in worker.text()


def test_sighup_starts_the_same_worker_again(client: App, start: Start) -> None:
    worker = start("-c", "1")
    before = worker.children()
    worker.signal(signal.SIGHUP)
    wait_until(lambda: worker.text().count(" ready.") == 2, what="the second start")
    assert not worker.ended()
    assert client.send_task("pooltasks.add", (1, 2)).get(timeout=60) == 3
    assert worker.children() != before
    assert worker.stop() == 0


def test_sigusr1_shows_the_stacks(start: Start) -> None:
    worker = start("-c", "1")
    worker.signal(signal.SIGUSR1)
    wait_until(lambda: "in run_once" in worker.text())
    assert not worker.ended()
    assert worker.get("/readyz")[0] == 200


def test_steps_start_in_order_consume_and_have_options(url: str, client: App, start: Start) -> None:
    worker = start("-c", "1", "--colour", "red", "--loud", app="stepped")
    with Connection(url) as connection:
        producer = connection.Producer()
        producer.publish({"text": "dear"}, exchange="letters", routing_key="letters", serializer="json")
    wait_until(lambda: "letter dear" in worker.ran())
    assert client.send_task("stepped.hello").get(timeout=60) == "hello"
    assert worker.stop() == 0
    assert worker.ran() == [
        "first starts w0",
        "second starts red True",
        "letter dear",
        "second stops",
        "first stops",
    ]


def test_consumers_of_steps_come_back_with_the_connection(
    url: str, client: App, start: Start, redis_server: object
) -> None:
    worker = start("-c", "1", app="stepped")
    import redis

    administrator = redis.Redis.from_url(url)
    administrator.client_kill_filter(_type="normal", skipme=True)
    wait_until(lambda: worker.text().count("Connected to") >= 2, what="the second connection")
    with Connection(url) as connection:
        connection.Producer().publish(
            {"text": "again"}, exchange="letters", routing_key="letters", serializer="json"
        )
    wait_until(lambda: "letter again" in worker.ran())
    assert client.send_task("stepped.hello").get(timeout=60) == "hello"


def test_an_option_that_nobody_has_is_refused(start: Start) -> None:
    worker = start("-c", "1", "--coloor", "red", app="stepped", ready=False)
    assert worker.wait() == 2
    assert worker.text() == "taskyard: unrecognized arguments: --coloor red\n"


def test_queues_imports_purge_and_names(url: str, client: App, start: Start, tmp_path: Path) -> None:
    client.send_task("pooltasks.add", (1, 2), queue="old")
    worker = start(
        "-c", "1", "-n", "mine@%h", "-Q", "old,new,celery", "-X", "new", "-I", "custompool,more",
        "--purge", "-f", "%n.log", app="pooltasks", environment={"PYTHONPATH": f"{APPS}:{tmp_path}"},
        ready=False,
    )  # fmt: skip
    assert worker.wait() == 2
    assert "-I more: No module named 'more'" in worker.text()
    (tmp_path / "more.py").write_text(
        "from pooltasks import app\n\n@app.task(name='more.three')\ndef three():\n    return 3\n"
    )
    worker.start()
    assert client.send_task("more.three").get(timeout=60) == 3
    state = worker.state()
    assert (state["queues"], state["node"]) == (["old", "celery"], f"mine@{os.uname().nodename}")
    assert "purge: Erased 1 message" in worker.text()
    assert "Task more.three[" in (tmp_path / "mine.log").read_text()
    assert "received" not in worker.text()


def test_in_the_background_with_a_pidfile(url: str, client: App, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "taskyard", "-A", "pooltasks", "-b", url, "--result-backend", url]
    command += [
        "worker",
        "-c",
        "1",
        "-D",
        "--pidfile",
        "%n.pid",
        "-n",
        "back@%h",
        "-f",
        "%n.log",
        "-l",
        "info",
    ]
    environment = {**os.environ, "PYTHONPATH": str(APPS), "RECORD": str(tmp_path / "record")}
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, timeout=120, check=True, capture_output=True
    )
    assert done.stderr == b""
    pidfile = tmp_path / "back.pid"
    pid = int(wait_until(lambda: pidfile.exists() and pidfile.read_text()))
    try:
        assert client.send_task("pooltasks.where").get(timeout=60)[1] == pid
        assert os.getsid(pid) != os.getsid(0)
        second = subprocess.run(command, env=environment, cwd=tmp_path, timeout=120, capture_output=True)
        assert (second.returncode, second.stderr.count(b"\n")) == (2, 1)
        assert f"process {pid} is running".encode() in second.stderr
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not pidfile.exists(), what="the end")
    assert "back@" in (tmp_path / "back.log").read_text()


def test_tasks_log_with_their_names_and_what_is_printed_is_logged(client: App, start: Start) -> None:
    worker = start("-c", "1", app="logging_tasks")
    result = client.send_task("logging_tasks.talk")
    result.get(timeout=60)
    wait_until(lambda: "succeeded" in worker.text())
    text = worker.text()
    assert f"INFO/ForkPoolWorker-1] logging_tasks.talk[{result.id}]: said\n" in text
    assert "WARNING/ForkPoolWorker-1] printed\n" in text
    assert f"INFO/MainProcess] Task logging_tasks.talk[{result.id}] received\n" in text
    assert f"INFO/ForkPoolWorker-1] Task logging_tasks.talk[{result.id}] succeeded in " in text


def test_logs_as_json(client: App, start: Start) -> None:
    worker = start("-c", "1", "--json-logs", "-q", app="logging_tasks")
    result = client.send_task("logging_tasks.talk")
    result.get(timeout=60)
    assert worker.stop() == 0
    lines = [json.loads(line) for line in worker.text().splitlines() if line.startswith("{")]
    (said,) = [line for line in lines if line["message"] == "said"]
    assert (said["task_name"], said["task_id"]) == ("logging_tasks.talk", result.id)
    assert {line["message"] for line in lines} >= {"printed", "w0 ready."}
    assert len(lines) >= len(worker.text().splitlines()) - 1
