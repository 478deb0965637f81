"""Children, workers, connections and brokers die: nothing is lost, doubles only where none can help it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pytest

from taskyard import App
from taskyard.errors import WorkerLostError
from tests.brokers.rabbitmq import RabbitMQServer, impatience
from tests.brokers.redis import RedisServer
from tests.brokers.vhost import Vhost
from tests.integration.worker.harness import Broker, StartWorker, freeze, wait_until


def send(client: App, names: list[str], seconds: float = 0.0) -> None:
    for name in names:
        client.send_task("jobs.mark", (name, seconds), ignore_result=True)


def test_a_killed_child_s_task_runs_again_and_the_others_are_not_disturbed(
    broker: Broker, client: App, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    result = client.send_task("jobs.die_once", ("x",))
    others = [client.send_task("jobs.add", (n, 1)) for n in range(20)]
    assert result.get(timeout=60) == "survived"
    assert [other.get(timeout=60) for other in others] == [n + 1 for n in range(20)]
    assert worker.ran() == ["run x 0", "run x 1"]
    wait_until(lambda: len(worker.children()) == 2, what="the replacement")


def test_a_child_that_sends_nonsense_is_replaced(redis_broker: Broker, start_worker: StartWorker) -> None:
    client = App("client", broker=redis_broker.url, backend=redis_broker.backend)
    worker = start_worker(redis_broker)
    assert client.send_task("jobs.babble_once", ("x",)).get(timeout=60) == "survived"
    assert worker.ran() == ["run x 0", "run x 1"]
    assert "sends nonsense" in worker.text()


def test_a_task_that_always_kills_its_process_ends_as_a_failure(
    broker: Broker, client: App, start_worker: StartWorker
) -> None:
    rules = '{"celery": {"queue": "celery.dead", "maxDeliveries": 3}}'
    worker = start_worker(broker, environment={"TASKYARD_DEAD_LETTERS": rules})
    with pytest.raises(WorkerLostError, match="SIGKILL"):
        client.send_task("jobs.die").get(timeout=60)
    assert worker.ran() == ["die"] * 3
    wait_until(lambda: worker.state()["held"] == 0, what="nothing held")


def test_what_has_ended_in_a_process_that_dies_right_after_it_has_ended(
    broker: Broker, client: App, start_worker: StartWorker
) -> None:
    names = [f"n{number}" for number in range(400)]
    names[300:300] = ["die"]
    results = [client.send_task("jobs.mark_or_die", (name,)) for name in names]
    worker = start_worker(broker, "-c", "1")
    for name, result in zip(names, results, strict=True):
        if name == "die":
            with pytest.raises(WorkerLostError):
                result.get(timeout=60)
        else:
            assert result.get(timeout=60) == name
    assert set(worker.count().values()) == {1}


def test_kill_9_of_children_under_load(broker: Broker, client: App, start_worker: StartWorker) -> None:
    # However often the same message is hit.
    endless = {"TASKYARD_DEAD_LETTERS": '{"*": {"maxDeliveries": 0}}'}
    worker = start_worker(broker, "-c", "2", "--loglevel", "warning", environment=endless)
    names = [f"n{number}" for number in range(1500)]
    send(client, names[:500])
    for start in range(500, 1500, 100):
        for child in worker.children()[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        send(client, names[start : start + 100])
        time.sleep(0.05)
    wait_until(lambda: len(worker.count()) == len(names), what="all tasks")
    wait_until(lambda: worker.state()["held"] == 0, what="nothing held")
    doubles = sum(worker.count().values()) - len(names)
    assert doubles <= 10, "one task ran in each that was killed"


def test_kill_9_of_the_parent_loses_nothing(
    broker: Broker, client: App, start_worker: StartWorker, tmp_path: Path
) -> None:
    environment = {"LEASE_SECONDS": "3"}
    first = start_worker(broker, "-c", "2", "--loglevel", "warning", environment=environment)
    children = first.children()
    names = [f"n{number}" for number in range(400)]
    send(client, names, 0.005)
    wait_until(lambda: len(first.ran()) > 50, what="some tasks")
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: not any(os.path.exists(f"/proc/{child}") for child in children), what="no orphans")
    second = start_worker(broker, "-c", "2", "--loglevel", "warning", environment=environment)
    wait_until(lambda: len(second.count()) == len(names), timeout=90, what="all tasks")
    doubles = sum(second.count().values()) - len(names)
    assert doubles <= 130


def test_a_worker_that_was_taken_for_lost_does_not_overwrite_the_later_result(
    redis_broker: Broker, start_worker: StartWorker
) -> None:
    client = App("client", broker=redis_broker.url, backend=redis_broker.backend)
    environment = {"LEASE_SECONDS": "3"}
    first = start_worker(redis_broker, "-c", "1", environment=environment)
    result = client.send_task("jobs.slow_then_better")
    wait_until(lambda: first.ran() == ["run False"], what="the first run")
    freeze(first.pid)
    time.sleep(4)  # who starts after the lease's end looks for lost workers at once
    second = start_worker(redis_broker, "-c", "1", environment=environment)
    with pytest.raises(ValueError, match="the later run"):
        result.get(timeout=60)
    first.open_gate()
    first.signal(signal.SIGCONT)
    wait_until(lambda: "after their lease was lost" in first.text(), what="the first's result")
    wait_until(lambda: first.state()["held"] == second.state()["held"] == 0, what="nothing held")
    assert first.ran() == ["run False", "run True"]
    assert client.AsyncResult(result.id).state == "FAILURE"


def test_rabbitmq_cuts_the_connections_under_load(
    amqp_broker: Broker, vhost: Vhost, start_worker: StartWorker
) -> None:
    client = App("client", broker=amqp_broker.url)
    worker = start_worker(amqp_broker, "-c", "2", "--loglevel", "warning")
    names = [f"n{number}" for number in range(300)]
    client.send_task("jobs.begin_and_mark", ("long", 4.0), ignore_result=True)
    send(client, names, 0.01)
    client.hang_up()  # what is still on its way would be lost with the connection
    wait_until(lambda: len(worker.ran()) > 10, what="some tasks")
    for _ in range(3):
        time.sleep(0.5)
        vhost.server.ctl("close_all_connections", "--vhost", vhost.name, "for the test")
    wait_until(lambda: len(worker.count()) == len(names) + 2, what="all tasks")
    wait_until(lambda: worker.state()["held"] == 0, what="nothing held")
    assert worker.count()["begin long"] == 1, "a running task's redelivery must not run"
    wait_until(lambda: amqp_messages(vhost) == 0, what="nothing left")
    doubles = sum(worker.count().values()) - len(names) - 2
    assert doubles == 0


def test_rabbitmq_closes_the_channel_because_a_task_takes_so_long(
    amqp_broker: Broker, vhost: Vhost, start_worker: StartWorker
) -> None:
    client = App("client", broker=amqp_broker.url, backend=amqp_broker.backend)
    with impatience(vhost.server, consumer_timeout=1.0):
        worker = start_worker(amqp_broker, "-c", "2")
        long = client.send_task("jobs.begin_and_mark", ("long", 120.0))
        wait_until(lambda: "not run twice" in worker.text(), what="the redelivery")
        assert client.send_task("jobs.add", (1, 1)).get(timeout=60) == 2
        worker.open_gate()
        long.get(timeout=60)
    wait_until(lambda: worker.state()["held"] == 0 and amqp_messages(vhost) == 0, what="nothing left")
    assert worker.count()["begin long"] == 1
    assert worker.stop() == 0


def amqp_messages(vhost: Vhost, queue: str = "celery") -> int:
    """How many there are, with those that are not yet acknowledged."""
    listed = vhost.server.ctl("list_queues", "--vhost", vhost.name, "name", "messages")
    counts = dict(line.split("\t") for line in listed.splitlines() if "\t" in line)
    return int(counts[queue])


@pytest.mark.redis
def test_redis_restarts_under_load(start_worker: StartWorker, tmp_path: Path) -> None:
    with RedisServer(options=["--appendonly", "yes"]) as server:
        broker = Broker("redis", server.url, server.url)
        client = App("client", broker=server.url, backend=server.url)
        worker = start_worker(broker, "-c", "2", "--loglevel", "warning")
        names = [f"n{number}" for number in range(300)]
        long = client.send_task("jobs.begin_and_mark", ("long", 4.0))
        send(client, names, 0.01)
        wait_until(lambda: len(worker.ran()) > 10, what="some tasks")
        for _ in range(2):
            server.stop()
            wait_until(lambda: re.search("cannot connect|lost", str(worker.get("/readyz"))), what="not ready")
            assert worker.get("/healthz")[0] == 200
            server.start()
            wait_until(lambda: worker.get("/readyz")[0] == 200, what="ready again")
        wait_until(lambda: len(worker.count()) == len(names) + 2, what="all tasks")
        assert long.get(timeout=60) is None
        wait_until(lambda: worker.state()["held"] == 0, what="nothing held")
        assert worker.count()["begin long"] == 1
        assert sum(worker.count().values()) == len(names) + 2
        assert worker.stop() == 0
        import redis

        store = redis.Redis(port=server.port)
        assert store.hlen("unacked") == 0
        assert store.llen("celery") == 0


@pytest.mark.redis
def test_results_of_an_outage_of_the_store_are_stored_later(
    amqp_broker: Broker, start_worker: StartWorker
) -> None:
    with RedisServer() as server:
        broker = Broker("amqp", amqp_broker.url, server.url)
        client = App("client", broker=broker.url, backend=broker.backend)
        worker = start_worker(broker)
        assert client.send_task("jobs.add", (1, 1)).get(timeout=60) == 2
        server.stop()
        late = [client.send_task("jobs.add", (n, 1)) for n in range(2)]
        lost = client.send_task("jobs.die_once", ("x",))
        wait_until(lambda: worker.ran() == ["run x 0", "run x 1"], what="the lost one's second run")

        def finished_and_held() -> tuple[int, int]:
            state = worker.state()
            return state["finished"], state["held"]

        # Not acknowledged before the results are stored.
        wait_until(lambda: finished_and_held() == (4, 3), what="all to be done and held")
        server.start()
        assert [result.get(timeout=60) for result in late] == [1, 2]
        assert lost.get(timeout=60) == "survived"
        wait_until(lambda: worker.state()["held"] == 0, what="nothing held")


def test_a_worker_waits_for_its_broker(
    redis_server: RedisServer, start_worker: StartWorker, tmp_path: Path
) -> None:
    server = RedisServer(password="right")
    try:
        broker = Broker("redis", server.url, server.url)
        worker = start_worker(broker, ready=False)
        wait_until(lambda: "Connection refused" in str(worker.get("/readyz")), what="the reason")
        server.start()
        wait_until(lambda: worker.get("/readyz")[0] == 200, what="ready")
        wrong = Broker("redis", server.url.replace("right", "geheim"), "")
        other = start_worker(wrong, ready=False, backend=None)
        wait_until(lambda: "password" in str(other.get("/readyz")[1]), what="the reason")
        assert other.get("/healthz")[0] == 200
        assert "geheim" not in other.text()
        assert "right" not in worker.text().replace("are right?", "").replace("port right", "")
        assert other.stop() == 0
    finally:
        server.close()


@pytest.mark.rabbitmq
def test_rabbitmq_refuses_the_password(rabbitmq_server: RabbitMQServer, start_worker: StartWorker) -> None:
    broker = Broker("amqp", rabbitmq_server.url(password="geheim"), "")
    worker = start_worker(broker, ready=False, backend=None)
    wait_until(lambda: "check user and password" in str(worker.get("/readyz")[1]), what="the reason")
    assert "geheim" not in worker.text()
    assert worker.stop() == 0


def test_a_task_that_wants_no_second_run_fails_with_its_process(
    broker: Broker, client: App, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    with pytest.raises(WorkerLostError):
        client.send_task("jobs.die_early").get(timeout=60)
    time.sleep(0.3)
    assert worker.ran() == ["die early"]


def test_programs_that_a_task_starts_can_be_terminated(
    redis_broker: Broker, start_worker: StartWorker
) -> None:
    start_worker(redis_broker)
    client = App("client", broker=redis_broker.url, backend=redis_broker.backend)
    assert client.send_task("jobs.start_a_program").get(timeout=60) == -signal.SIGTERM


@pytest.mark.rabbitmq
def test_a_drain_ends_when_the_broker_is_silent(start_worker: StartWorker, redis_server: RedisServer) -> None:
    with RabbitMQServer(management=False) as server:
        broker = Broker("amqp", server.url(), "")
        worker = start_worker(broker, backend=None)
        pid = int((server._directory / "pid").read_text())
        try:
            freeze(pid)
            state = worker.drain()
            assert not state["consuming"]
            assert not state["brokerConnected"]
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: worker.state()["brokerConnected"], what="connected again")
        assert worker.state()["state"] == "drained"
        assert worker.stop() == 0
