"""Events of our worker for Celery's receiver, State and command line, and for ours."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import celery
import pytest

from taskyard import App
from taskyard.cli.main import main
from tests.integration.remote.parity import APPS
from tests.integration.worker.harness import Broker, StartWorker, wait_until

WAIT = 60
NODE = "w0@test"


@contextlib.contextmanager
def listening(app: Any, state: Any = None) -> Iterator[list[dict[str, Any]]]:
    """All events that come meanwhile."""
    events: list[dict[str, Any]] = []

    def keep(event: dict[str, Any]) -> None:
        events.append(dict(event))
        if state is not None:
            state.event(event)

    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": keep})
        thread = threading.Thread(target=receiver.capture, kwargs={"limit": None}, daemon=True)
        thread.start()
        try:
            wait_until(lambda: events, what="the first event")
            yield events
        finally:
            receiver.should_stop = True
            thread.join(30)


def types_of(events: list[dict[str, Any]], task_id: str) -> list[str]:
    return [event["type"] for event in events if event.get("uuid") == task_id]


@pytest.fixture(params=["celery", "ours"])
def listener(request: pytest.FixtureRequest, broker: Broker, client: App) -> Any:
    return client if request.param == "ours" else request.getfixturevalue("celery_client")


def test_a_task_s_life_in_events(
    broker: Broker, client: App, listener: Any, start_worker: StartWorker
) -> None:
    start_worker(broker)
    state = listener.events.State()
    with listening(listener, state) as events:
        # Whoever listens is found within seconds; nobody asked for task events otherwise.
        wait_until(
            lambda: [
                client.send_task("remote_jobs.add", (1, 1)).get(timeout=WAIT),
                any(event["type"] == "task-succeeded" for event in events),
            ][1],
            what="task events flow",
        )
        good = client.send_task("remote_jobs.add", (2, 3))
        bad = client.send_task("remote_jobs.fail")
        # RabbitMQ itself drops what has expired, unless it can deliver it at once.
        drops = broker.kind == "amqp"
        late = None if drops else client.send_task("remote_jobs.add", (1, 1), expires=-1)
        long = client.send_task("remote_jobs.nap", (60,))
        wait_until(lambda: "task-started" in types_of(events, long.id), what="it runs")
        client.control.revoke(long.id, terminate=True, signal="KILL")
        wait_until(lambda: "task-revoked" in types_of(events, long.id), what="it is ended")
        wait_until(lambda: "task-failed" in types_of(events, bad.id), what="it has failed")
        wait_until(lambda: "task-succeeded" in types_of(events, good.id), what="it is done")
        if late is not None:
            wait_until(lambda: "task-revoked" in types_of(events, late.id), what="it is late")
        wait_until(lambda: [each.hostname for each in state.alive_workers()] == [NODE], what="it is alive")
    assert types_of(events, good.id) == ["task-received", "task-started", "task-succeeded"]
    assert types_of(events, bad.id) == ["task-received", "task-started", "task-failed"]
    received, started, succeeded = [event for event in events if event.get("uuid") == good.id]
    assert received["name"] == "remote_jobs.add"
    assert (received["args"], received["kwargs"], received["retries"]) == ("(2, 3)", "{}", 0)
    assert {"root_id", "parent_id", "eta", "expires"} <= set(received)
    assert succeeded["result"] == "5"
    assert succeeded["runtime"] > 0
    assert received["timestamp"] <= started["timestamp"] <= succeeded["timestamp"]
    assert received["clock"] < started["clock"] < succeeded["clock"]
    failed = next(event for event in events if event["type"] == "task-failed")
    assert failed["exception"] == "ValueError('no')"
    assert "in fail" in failed["traceback"]
    revoked = {event["uuid"]: event for event in events if event["type"] == "task-revoked"}
    assert (revoked[long.id]["terminated"], revoked[long.id]["signum"]) == (True, 9)
    if late is not None:
        assert (revoked[late.id]["terminated"], revoked[late.id]["expired"]) == (False, True)
    beat = next(event for event in events if event["type"] == "worker-heartbeat")
    assert beat["hostname"] == NODE
    assert beat["freq"] == 2.0
    assert {"active", "processed", "loadavg", "sw_ident", "sw_ver", "sw_sys", "pid", "utcoffset"} <= set(beat)
    assert state.tasks[good.id].state == "SUCCESS"
    assert state.tasks[bad.id].state == "FAILURE"


def test_a_worker_says_hello_and_goodbye(broker: Broker, client: App, start_worker: StartWorker) -> None:
    first = start_worker(broker, name="first@test")
    with listening(client) as events:
        start_worker(broker, name="second@test")
        wait_until(
            lambda: ("worker-online", "second@test") in [(e["type"], e["hostname"]) for e in events],
            what="it is online",
        )
        first.stop()
        wait_until(
            lambda: ("worker-offline", "first@test") in [(e["type"], e["hostname"]) for e in events],
            what="it is offline",
        )


@pytest.mark.redis
def test_events_of_clients_and_of_tasks_own(redis_broker: Broker, start_worker: StartWorker) -> None:
    client = App("client", broker=redis_broker.url, backend=redis_broker.backend)
    client.conf.task_send_sent_event = True
    start_worker(redis_broker)
    with listening(client) as events:
        sent = client.send_task("remote_jobs.progress")
        wait_until(
            lambda: {"task-progress", "task-sent"} <= set(types_of(events, sent.id)), what="both events"
        )
        own = next(event for event in events if event["type"] == "task-progress")
        assert (own["percent"], own["hostname"]) == (50, NODE)
        task_sent = next(event for event in events if event["type"] == "task-sent")
        assert (task_sent["name"], task_sent["queue"]) == ("remote_jobs.progress", "celery")


@pytest.mark.redis
def test_task_events_are_switched_by_remote_control(redis_broker: Broker, start_worker: StartWorker) -> None:
    client = App("client", broker=redis_broker.url, backend=redis_broker.backend)
    start_worker(redis_broker, "-c", "1")
    reply = {"reply": True, "timeout": 60, "limit": 1}
    assert client.control.disable_events(**reply) == [{NODE: {"ok": "task events already disabled"}}]
    with listening(client) as events:
        assert client.send_task("remote_jobs.add", (1, 2)).get(timeout=WAIT) == 3
        assert client.control.enable_events(**reply) == [{NODE: {"ok": "task events enabled"}}]
        assert client.control.enable_events(**reply) == [{NODE: {"ok": "task events already enabled"}}]
        assert client.send_task("remote_jobs.add", (2, 2)).get(timeout=WAIT) == 4
        wait_until(
            lambda: [event["result"] for event in events if event["type"] == "task-succeeded"] == ["4"],
            what="the second task's events",
        )
        assert client.control.disable_events(**reply) == [{NODE: {"ok": "task events disabled"}}]


def test_celery_s_own_command_line_understands_our_worker(
    broker: Broker, client: App, celery_client: celery.Celery, start_worker: StartWorker, tmp_path: Any
) -> None:
    start_worker(broker)
    base = [sys.executable, "-m", "celery", "-b", broker.url]
    environment = {**os.environ, "NO_COLOR": "1"}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*base, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            timeout=2 * WAIT,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert json.loads(run("inspect", "ping", "--json", "-t", "60", "-d", NODE)) == {NODE: {"ok": "pong"}}
    assert "1 node online" in run("status", "-t", "60", "-d", NODE)
    dump = subprocess.Popen(
        [*base, "events", "--dump"], stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    )
    try:
        lines: list[str] = []
        assert dump.stdout is not None
        reader = threading.Thread(target=lambda: lines.extend(iter(dump.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
        reader.start()
        wait_until(
            lambda: [
                client.send_task("remote_jobs.add", (2, 3)).get(timeout=WAIT),
                any("task succeeded" in line for line in lines),
            ][1],
            what="the dump shows a task",
        )
        wait_until(lambda: any("heartbeat" in line for line in lines), what="a heartbeat")
    finally:
        dump.kill()
        dump.wait(30)
        if dump.stdout is not None:
            dump.stdout.close()


@pytest.mark.redis
def test_our_command_line(
    redis_broker: Broker,
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(str(APPS))
    monkeypatch.setenv("TASKYARD_BROKER_URL", redis_broker.url)
    monkeypatch.setenv("TASKYARD_RESULT_BACKEND", redis_broker.backend)

    def run(*arguments: str) -> tuple[int, str]:
        try:
            code = main(["-A", "remote_jobs", *arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    assert run("status", "-t", "0.5")[0] == 69
    start_worker(redis_broker)
    assert "1 node online" in run("status", "-t", "60", "-d", NODE)[1]
    code, text = run("inspect", "registered", "--json", "-t", "60", "-d", NODE)
    assert code == 0
    assert "remote_jobs.add" in json.loads(text)[NODE]
    assert "prefetch_count" in run("inspect", "current_prefetch_count", "-t", "60", "-d", NODE)[1]
    assert (
        "new rate limit set"
        in run("control", "rate_limit", "remote_jobs.add", "5/s", "-t", "60", "-d", NODE)[1]
    )
    code, text = run("inspect", "nosuch")
    assert code == 2
    assert "there are active" in text
    assert run("control", "rate_limit", "a", "b", "c")[0] == 2
    assert run("inspect", "ping", "-d", "nobody@test", "-t", "0.5")[0] == 69
    assert "revoke" in run("control", "--list")[1]
    code, text = run("events", "--json", "--limit", "1")
    assert code == 0
    assert json.loads(text.splitlines()[0])["hostname"] == NODE


@pytest.mark.redis
def test_our_client_controls_a_celery_worker(redis_broker: Broker, tmp_path: Any) -> None:
    client = App("client", broker=redis_broker.url, backend=redis_broker.backend)
    environment = {
        **os.environ,
        "PYTHONPATH": str(APPS),
        "BROKER": redis_broker.url,
        "BACKEND": redis_broker.backend,
    }
    command = [sys.executable, "-m", "celery", "-A", "celery_jobs", "worker", "-c", "1", "-n", "c@test", "-E"]
    with (tmp_path / "celery.log").open("wb") as log:
        worker = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    try:
        wait_until(lambda: client.control.ping(timeout=3, limit=1), what="Celery's worker answers")
        inspect = client.control.inspect(timeout=60, limit=1)
        assert "celery_jobs.add" in inspect.registered()["c@test"]
        assert inspect.stats()["c@test"]["pool"]["max-concurrency"] == 1
        assert inspect.active_queues()["c@test"][0]["name"] == "celery"
        with listening(client) as events:
            long = client.send_task("celery_jobs.nap", (60,))
            wait_until(lambda: inspect.active()["c@test"], what="it runs")
            client.control.revoke(long.id, terminate=True)
            wait_until(lambda: long.state == "REVOKED", what="it is ended")
            assert client.send_task("celery_jobs.add", (1, 2)).get(timeout=WAIT) == 3
            wait_until(lambda: "task-revoked" in types_of(events, long.id), what="its event")
        client.control.shutdown()
        assert worker.wait(WAIT) == 0
    finally:
        worker.kill()
        worker.wait(30)
