"""Drain, resume, stop: what has begun ends here, what has not goes back, nothing runs twice or never."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from threading import Event, Thread

import celery
import pytest
from kombu import Connection

from taskyard import App
from tests.integration.worker.harness import Broker, StartWorker, WorkerProcess, wait_until

#: Deliveries of a message at most.
MOST = 5


def send(client: App, names: list[str], seconds: float = 0.0) -> None:
    for name in names:
        client.send_task("jobs.mark", (name, seconds), ignore_result=True)


def test_drain_under_load_lets_nothing_begin_afterwards(
    broker: Broker, client: App, start_worker: StartWorker
) -> None:
    worker = start_worker(broker, "-c", "2", "--loglevel", "warning")
    names = [f"n{number}" for number in range(600)]
    send(client, names, 0.05)
    wait_until(lambda: len(worker.ran()) > 20, what="some tasks")
    state = worker.drain()
    assert state["state"] in ("draining", "drained")
    assert not state["consuming"]
    begun = state["started"]
    wait_until(lambda: worker.state()["state"] == "drained", what="drained")
    assert worker.state()["started"] == begun
    assert len(worker.ran()) == begun
    time.sleep(0.5)
    assert len(worker.ran()) == begun < len(names)
    assert worker.get("/readyz")[0] == 200
    assert worker.drain()["state"] == "drained"
    worker.open_gate()
    assert worker.resume()["consuming"]
    wait_until(lambda: len(worker.ran()) >= len(names), what="all tasks")
    time.sleep(0.3)
    assert worker.count() == dict.fromkeys(names, 1)


def test_a_drained_worker_s_messages_go_to_another_one(
    broker: Broker, client: App, start_worker: StartWorker
) -> None:
    first = start_worker(broker, "-c", "2", "--prefetch-multiplier", "8")
    send(client, [f"n{number}" for number in range(20)], 120.0)
    wait_until(lambda: first.state()["held"] >= 4, what="prefetched messages")
    state = first.drain()
    assert state["held"] <= 2
    first.open_gate()
    second = start_worker(broker, "-c", "4")
    wait_until(lambda: first.state()["finished"] + second.state()["finished"] == 20, what="all tasks")
    assert second.state()["finished"] >= 18
    assert second.count() == {f"n{number}": 1 for number in range(20)}


def test_many_drains_and_resumes_lose_and_double_nothing(
    broker: Broker, client: App, start_worker: StartWorker
) -> None:
    worker = start_worker(broker, "-c", "2", "--loglevel", "warning")
    names = [f"n{number}" for number in range(600)]
    stop = Event()

    def flip() -> None:
        end = time.monotonic() + 30
        while not stop.is_set() and time.monotonic() < end:
            worker.drain()
            worker.resume()

    thread = Thread(target=flip)
    thread.start()
    try:
        send(client, names)
        wait_until(lambda: len(worker.ran()) >= len(names), timeout=120, what="all tasks")
    finally:
        stop.set()
        thread.join()
    time.sleep(0.3)
    assert worker.count() == dict.fromkeys(names, 1)


def test_sigterm_under_load_runs_each_task_once(
    broker: Broker, client: App, start_worker: StartWorker
) -> None:
    first = start_worker(broker, "-c", "2", "--loglevel", "warning")
    names = [f"n{number}" for number in range(400)]
    send(client, names, 0.05)
    wait_until(lambda: len(first.ran()) > 20, what="some tasks")
    assert first.stop() == 0
    some = len(first.ran())
    assert some < len(names)
    first.open_gate()
    second = start_worker(broker, "-c", "2", "--loglevel", "warning")
    wait_until(lambda: len(second.ran()) >= len(names), what="all tasks")
    time.sleep(0.3)
    assert second.count() == dict.fromkeys(names, 1)


def test_sigterm_waits_for_what_runs(
    broker: Broker, celery_client: celery.Celery, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    running = celery_client.send_task("jobs.begin_and_mark", ("long", 120.0))
    wait_until(lambda: "begin long" in worker.ran(), what="the long task")
    worker.signal(signal.SIGTERM)
    wait_until(lambda: worker.get("/readyz")[0] == 503, what="not ready")
    assert worker.request("POST", "/drain")[0] == 409
    assert worker.state()["state"] == "stopping"
    worker.open_gate()
    assert worker.wait() == 0
    assert worker.ran() == ["begin long", "end long"]
    assert running.get(timeout=60) is None


def test_the_grace_period_ends_in_a_requeue(broker: Broker, client: App, start_worker: StartWorker) -> None:
    worker = start_worker(broker, environment={"TASKYARD_GRACE_SECONDS": "2"})
    client.send_task("jobs.begin_and_mark", ("long", 300.0))
    wait_until(lambda: "begin long" in worker.ran(), what="the long task")
    started = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - started > 1.5
    second = start_worker(broker)
    wait_until(lambda: second.count()["begin long"] == 2, what="the second run")
    second.signal(signal.SIGQUIT)
    assert second.wait() == 0


def test_a_second_sigterm_ends_at_once_and_gives_everything_back(
    broker: Broker, client: App, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    children = worker.children()
    client.send_task("jobs.begin_and_mark", ("long", 300.0))
    wait_until(lambda: "begin long" in worker.ran(), what="the long task")
    worker.signal(signal.SIGTERM)
    wait_until(lambda: worker.state()["state"] == "stopping", what="stopping")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert len(children) == 2
    second = start_worker(broker)
    wait_until(lambda: second.count()["begin long"] == 2, what="the second run")
    second.signal(signal.SIGQUIT)
    assert second.wait() == 0


def test_starting_drained(broker: Broker, client: App, start_worker: StartWorker, tmp_path: Path) -> None:
    podinfo = tmp_path / "annotations"
    podinfo.write_text(
        'other="x"\ntaskyard.io/drain="true"\ntaskyard.io/draining-since="2026-01-01T00:00:00Z"'
    )
    send(client, ["late"])
    worker = start_worker(broker, environment={"TASKYARD_PODINFO": str(podinfo)})
    state = worker.state()
    assert (state["state"], state["consuming"], state["brokerConnected"]) == ("drained", False, True)
    time.sleep(0.5)
    assert worker.ran() == []
    assert worker.resume()["state"] == "running"
    wait_until(lambda: worker.ran() == ["late"], what="the task")


def test_sigint_in_a_terminal_does_not_reach_the_children(
    broker: Broker, client: App, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    client.send_task("jobs.begin_and_mark", ("long", 120.0))
    wait_until(lambda: "begin long" in worker.ran(), what="the long task")
    for child in worker.children():
        os.kill(child, signal.SIGINT)
        os.kill(child, signal.SIGTERM)
    worker.signal(signal.SIGINT)
    wait_until(lambda: worker.state()["state"] == "stopping", what="stopping")
    worker.open_gate()
    assert worker.wait() == 0
    assert worker.ran() == ["begin long", "end long"]


def test_an_idle_worker_does_not_wait_for_the_grace_period(broker: Broker, start_worker: StartWorker) -> None:
    worker = start_worker(broker, environment={"TASKYARD_GRACE_SECONDS": "600"})
    assert worker.stop() == 0


def test_the_solo_pool_drains_and_stops_too(broker: Broker, client: App, start_worker: StartWorker) -> None:
    worker = start_worker(broker, "-P", "solo")
    send(client, [f"n{number}" for number in range(20)], 0.4)
    wait_until(lambda: len(worker.ran()) > 2, what="some tasks")
    worker.drain()
    wait_until(lambda: worker.state()["state"] == "drained", what="drained")
    done = len(worker.ran())
    time.sleep(0.5)
    assert len(worker.ran()) == done < 20
    worker.open_gate()
    worker.resume()
    wait_until(lambda: len(worker.ran()) == 20, what="all tasks")
    assert worker.stop() == 0
    assert set(worker.count().values()) == {1}


def test_what_is_given_back_unbegun_was_not_delivered(
    broker: Broker, client: App, start_worker: StartWorker
) -> None:
    give_back_often(broker, client, start_worker)


@pytest.mark.rabbitmq
def test_quorum_queues_count_nothing_that_is_given_back_unbegun(
    amqp_broker: Broker, start_worker: StartWorker
) -> None:
    with Connection(amqp_broker.url) as connection:
        arguments = {
            "x-queue-type": "quorum",
            "x-delivery-limit": MOST - 1,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "work.dead",
        }
        channel = connection.default_channel
        channel.queue_declare("work", durable=True, auto_delete=False, arguments=arguments)
    client = App("client", broker=amqp_broker.url, backend=amqp_broker.backend)
    give_back_often(amqp_broker, client, start_worker)


def test_messages_of_a_killed_worker_are_not_taken_and_given_back_in_circles(
    amqp_broker: Broker, start_worker: StartWorker
) -> None:
    client = App("client", broker=amqp_broker.url, backend=amqp_broker.backend)
    rules = {"TASKYARD_DEAD_LETTERS": f'{{"celery": {{"queue": "celery.dead", "maxDeliveries": {MOST}}}}}'}
    names = [f"n{number}" for number in range(120)]
    send(client, names, 300.0)
    first = start_worker(amqp_broker, "-c", "1", "--prefetch-multiplier", "100", environment=rules)
    wait_until(lambda: first.state()["held"] == 100, what="many prefetched messages")
    first.signal(signal.SIGKILL)
    first.wait()
    second = start_worker(amqp_broker, "-c", "8", environment=rules)
    wait_until(lambda: second.state()["busy"] == 8, what="all slots busy")
    time.sleep(2.5)
    before = given_back(second)
    time.sleep(2.5)
    assert given_back(second) == before
    second.open_gate()
    wait_until(lambda: len(second.ran()) == len(names), what="all tasks")
    assert second.count() == dict.fromkeys(names, 1)


def given_back(worker: WorkerProcess) -> str:
    """The figure, as the metrics have it."""
    _, text = worker.request("GET", "/metrics")
    return str(re.search(r"^\S+given_back_total \S+$", text, re.MULTILINE))


def give_back_often(broker: Broker, client: App, start_worker: StartWorker) -> None:
    """More often than a message may be delivered."""
    rules = f'{{"work": {{"queue": "work.dead", "maxDeliveries": {MOST}}}}}'
    worker = start_worker(
        broker, "-Q", "work", "-c", "1", "--prefetch-multiplier", "8",
        environment={"TASKYARD_DEAD_LETTERS": rules},
    )  # fmt: skip
    names = [f"n{number}" for number in range(8)]
    for name in names:
        client.send_task("jobs.mark", (name, 300.0), queue="work", ignore_result=True)
    for _ in range(3 * MOST):
        wait_until(lambda: worker.state()["held"] == 8, what="prefetched messages")
        assert worker.drain()["held"] == 1
        worker.resume()
    worker.open_gate()
    wait_until(lambda: len(worker.ran()) == len(names), what="all tasks")
    assert worker.ran() == names
