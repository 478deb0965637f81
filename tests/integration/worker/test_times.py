"""ETA, countdown, expiry and time limits."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime, timedelta

import celery
import celery.exceptions
import pytest

from taskyard import App
from tests.brokers.vhost import Vhost
from tests.integration.worker.harness import Broker, StartWorker, wait_until

WAIT = 60


def test_a_countdown_is_kept_in_the_broker_and_in_time(
    broker: Broker, celery_client: celery.Celery, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    started = time.monotonic()
    result = celery_client.send_task("jobs.add", (1, 2), countdown=2.3)
    celery_client.send_task("jobs.add", (1, 2), countdown=600)
    assert result.get(timeout=WAIT) == 3
    assert 2.2 < time.monotonic() - started < 20
    wait_until(lambda: worker.state()["held"] == 0, what="nothing parked in the worker")


def test_many_delayed_tasks_hold_no_slot(
    broker: Broker, celery_client: celery.Celery, start_worker: StartWorker
) -> None:
    worker = start_worker(broker, "-c", "1")
    for n in range(30):
        celery_client.send_task("jobs.add", (n, 0), countdown=600)
    for n in range(5):
        assert celery_client.send_task("jobs.add", (n, 1)).get(timeout=WAIT) == n + 1
    wait_until(lambda: worker.state()["held"] == 0, what="nothing held")
    eta = datetime.now(UTC) + timedelta(seconds=2)
    late = [celery_client.send_task("jobs.add", (n, 0), eta=eta) for n in range(30)]
    assert [result.get(timeout=WAIT) for result in late] == list(range(30))
    assert datetime.now(UTC) >= eta


def test_delayed_tasks_survive_a_crash(broker: Broker, client: App, start_worker: StartWorker) -> None:
    worker = start_worker(broker)
    result = client.send_task("jobs.add", (1, 2), countdown=4)
    assert client.send_task("jobs.add", (1, 1)).get(timeout=WAIT) == 2
    wait_until(lambda: worker.state()["held"] == 0, what="nothing held")
    worker.signal(signal.SIGKILL)
    worker.wait()
    start_worker(broker)
    assert result.get(timeout=WAIT) == 3


@pytest.mark.rabbitmq
def test_another_user_s_message_waits_for_its_time_too(
    amqp_broker: Broker, vhost: Vhost, start_worker: StartWorker
) -> None:
    """RabbitMQ lets nobody publish a copy in another user's name."""
    vhost.user("sender", "secret")
    vhost.grant("sender")
    worker = start_worker(amqp_broker)
    url = amqp_broker.url.replace("guest:guest", "sender:secret")
    client = App("client", broker=url, backend=amqp_broker.backend)
    result = client.send_task("jobs.add", (1, 2), countdown=2, user_id="sender")
    assert result.get(timeout=WAIT) == 3
    assert "lost the connection" not in worker.text()


def test_an_eta_without_a_zone_is_utc_whatever_the_app_s(
    broker: Broker, client: App, start_worker: StartWorker
) -> None:
    start_worker(broker)
    client.conf.timezone = "America/Chicago"
    sent = client.send_task(
        "jobs.add", (1, 2), eta=datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=0.5)
    )
    assert sent.get(timeout=WAIT) == 3


def test_expired_messages_are_revoked(
    broker: Broker, celery_client: celery.Celery, client: App, start_worker: StartWorker
) -> None:
    expired = client.send_task("jobs.mark", ("never",), expires=datetime.now(UTC) - timedelta(seconds=5))
    worker = start_worker(broker)
    fine = celery_client.send_task("jobs.mark", ("fine",), expires=300)
    assert fine.get(timeout=WAIT) == "fine"
    assert worker.ran() == ["fine"]
    if broker.kind == "redis":  # RabbitMQ drops expired messages by itself
        with pytest.raises(celery.exceptions.TaskRevokedError, match="expired"):
            celery_client.AsyncResult(expired.id).get(timeout=WAIT)


def test_a_hard_limit_kills_the_child_and_nothing_else(
    broker: Broker, celery_client: celery.Celery, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    before = worker.children()
    with pytest.raises(celery.exceptions.TimeLimitExceeded):
        celery_client.send_task("jobs.too_long").get(timeout=WAIT)

    def replaced() -> bool:
        now = worker.children()
        return len(now) == 2 and len(set(before) & set(now)) == 1

    wait_until(replaced, what="the replacement")
    with pytest.raises(celery.exceptions.TimeLimitExceeded):
        celery_client.send_task("jobs.begin_and_mark", ("x", 300), time_limit=0.5).get(timeout=WAIT)
    wait_until(lambda: worker.state()["failed"] == 2, what="both counted")
    assert worker.ran() in (["begin x"], [])  # out of time before it began, on a busy machine


def test_a_soft_limit_lets_the_task_tidy_up(
    broker: Broker, celery_client: celery.Celery, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    before = worker.children()
    assert celery_client.send_task("jobs.softly").get(timeout=WAIT) == "tidied up"
    with pytest.raises(celery.exceptions.SoftTimeLimitExceeded):
        celery_client.send_task("jobs.mark", ("x", 300), soft_time_limit=0.3).get(timeout=WAIT)
    assert worker.children() == before


def test_short_tasks_never_wait_behind_a_long_one(
    broker: Broker, client: App, start_worker: StartWorker
) -> None:
    worker = start_worker(broker, "-c", "2", "--loglevel", "warning")
    for _ in range(300):
        client.send_task("jobs.echo", ignore_result=True)
    wait_until(lambda: worker.state()["finished"] == 300, what="a warm pool")
    # The same task, known to be short, is long for once.
    for n in range(100):
        client.send_task("jobs.mark", (f"a{n}",), ignore_result=True)
    client.send_task("jobs.mark", ("long", 300.0), ignore_result=True)
    for n in range(200):
        client.send_task("jobs.mark", (f"b{n}",), ignore_result=True)
    wait_until(lambda: len(worker.ran()) == 300, what="all short tasks")
    assert "long" not in worker.ran()
    wait_until(lambda: worker.state()["busy"] == 1, what="only the long task")
    worker.open_gate()
    wait_until(lambda: len(worker.ran()) == 301, what="the long task")
    assert set(worker.count().values()) == {1}


def test_children_are_replaced_after_their_share(
    broker: Broker, client: App, start_worker: StartWorker
) -> None:
    worker = start_worker(broker, "-c", "1", "--max-tasks-per-child", "3")
    pids = [client.send_task("jobs.pid").get(timeout=WAIT) for _ in range(9)]
    assert len(set(pids)) == 3
    assert all(pids.count(pid) == 3 for pid in pids)
    assert worker.state()["failed"] == 0
    burst = [client.send_task("jobs.pid") for _ in range(50)]
    assert len({result.get(timeout=WAIT) for result in burst}) >= 16


def test_children_are_replaced_when_they_grow(broker: Broker, client: App, start_worker: StartWorker) -> None:
    start_worker(broker, "-c", "1", "--max-memory-per-child", str(150 * 1024))
    first = client.send_task("jobs.pid").get(timeout=WAIT)
    assert client.send_task("jobs.pid").get(timeout=WAIT) == first
    assert client.send_task("jobs.eat", (300,)).get(timeout=WAIT) == first
    assert client.send_task("jobs.pid").get(timeout=WAIT) != first
