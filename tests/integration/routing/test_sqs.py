"""SQS's own protocol, spoken by moto's server: our worker, our client and Celery's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3  # type: ignore[import-untyped]
import celery
import pytest

from taskyard import App
from taskyard.broker.dead_letters import Wanted, open_store
from tests.brokers.sqs import SqsServer
from tests.integration.routing.conftest import StartRouted
from tests.integration.worker.harness import WorkerProcess, wait_until

#: Short leases, so that a renewal that is missing shows.
OPTIONS = {"region": "us-east-1", "is_secure": False, "wait_time_seconds": 1, "lease_seconds": 7}


@pytest.fixture(scope="module")
def server() -> Iterator[SqsServer]:
    with SqsServer() as running:
        yield running


@pytest.fixture
def api(server: SqsServer) -> Any:
    return boto3.client(
        "sqs",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )


def settings(prefix: str, **options: Any) -> dict[str, Any]:
    return {"broker_transport_options": {**OPTIONS, "queue_name_prefix": prefix, **options}}


def counts(api: Any, url: str) -> tuple[int, int]:
    """Visible and invisible messages."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = api.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


def url_of(api: Any, name: str) -> str:
    return str(api.get_queue_url(QueueName=name)["QueueUrl"])


def test_our_client_and_celerys_with_delays_and_long_tasks(
    server: SqsServer, api: Any, start_routed: StartRouted
) -> None:
    config = settings("a-")
    worker = start_routed(server.url, config, "-c", "1")
    app = App("client", broker=server.url, **config)
    stock = celery.Celery("client", broker=server.url, set_as_current=False)
    stock.conf.update(config)
    begin = time.time()
    for number in range(25):
        (app if number % 2 else stock).send_task("routing_jobs.mark", (str(number),))
    app.send_task("routing_jobs.mark", ("later",), countdown=3)
    stock.send_task("routing_jobs.mark", ("later too",), countdown=3)
    app.send_task("routing_jobs.sleep", ("long", 9))
    expected = sorted([f"w0 {number}" for number in range(25)] + ["w0 long", "w0 later", "w0 later too"])
    wait_until(lambda: len(worker.ran()) >= len(expected) or worker.ended())
    assert time.time() - begin > 9  # more than a lease
    wait_until(lambda: counts(api, url_of(api, "a-celery")) == (0, 0))
    assert sorted(worker.ran()) == expected
    assert worker.stop() == 0


def test_celerys_worker_takes_ours(server: SqsServer, api: Any, start_routed: StartRouted) -> None:
    config = settings("s-")
    worker = start_routed(server.url, config, stock=True, ready=False)
    app = App("client", broker=server.url, **config)
    app.send_task("routing_jobs.mark", ("one",))
    app.send_tasks([("routing_jobs.mark", (name,)) for name in ("two", "three")])
    app.send_task("routing_jobs.mark", ("later",), countdown=2)
    wait_until(lambda: len(worker.ran()) == 4 or worker.ended())
    assert sorted(worker.ran()) == [f"celery {each}" for each in ("later", "one", "three", "two")]
    wait_until(lambda: counts(api, url_of(api, "s-celery")) == (0, 0))


def test_what_is_due_later_than_sqs_delays_hops(
    server: SqsServer, api: Any, start_routed: StartRouted
) -> None:
    config = settings("h-")
    worker = start_routed(server.url, config, environment={"LONGEST_SQS_DELAY": "1"})
    app = App("client", broker=server.url, **config)
    begin = time.time()
    app.send_task("routing_jobs.mark", ("hops",), countdown=4)
    app.send_task("routing_jobs.mark", ("tomorrow",), countdown=86_400)
    wait_until(worker.ran)
    assert time.time() - begin > 3.9
    assert worker.ran() == ["w0 hops"]
    assert worker.stop() == 0


def test_a_fifo_queue_keeps_its_order(server: SqsServer, api: Any, start_routed: StartRouted) -> None:
    config = {**settings("f-"), "task_default_queue": "jobs.fifo"}
    app = App("client", broker=server.url, **config)
    stock = celery.Celery("client", broker=server.url, set_as_current=False)
    stock.conf.update(config)
    for number in range(6):
        (app if number % 2 else stock).send_task("routing_jobs.mark", (str(number),))
    worker = start_routed(server.url, config)
    app.send_task("routing_jobs.reject", ("luck",))
    app.send_task("routing_jobs.mark", ("last",))
    wait_until(lambda: len(worker.ran()) == 7)
    assert worker.ran() == [f"w0 {each}" for each in (*range(6), "last")]
    wait_until(lambda: counts(api, url_of(api, "f-jobs.fifo")) == (0, 0))
    wait_until(lambda: counts(api, url_of(api, "f-jobs-dead.fifo"))[0] == 1)


def test_a_worker_that_is_killed_loses_nothing(
    server: SqsServer, api: Any, start_routed: StartRouted
) -> None:
    config = settings("b-")
    first = start_routed(server.url, config)
    app = App("client", broker=server.url, **config)
    app.send_task("routing_jobs.sleep", ("crash", 120))
    wait_until(lambda: first.state()["busy"] == 1)
    assert first.process is not None
    first.process.kill()
    first.process.wait(30)
    first.open_gate()
    second = start_routed(server.url, config)
    wait_until(lambda: second.ran() == ["w1 crash"])
    wait_until(lambda: counts(api, url_of(api, "b-celery")) == (0, 0))


def start_with_four(
    server: SqsServer, start_routed: StartRouted, prefix: str, **environment: str
) -> WorkerProcess:
    """A worker of one process that has four tasks in its hands, each until the test opens the gate."""
    config = settings(prefix, lease_seconds=600)
    app = App("client", broker=server.url, **config)
    for number in range(4):
        app.send_task("routing_jobs.sleep", (str(number), 120))
    arguments = "-P", "prefork", "-c", "1", "--prefetch-multiplier", "4"
    worker = start_routed(server.url, config, *arguments, environment=environment)
    wait_until(lambda: worker.state()["held"] == 4)
    return worker


def test_what_is_drained_is_given_back_at_once(
    server: SqsServer, api: Any, start_routed: StartRouted
) -> None:
    worker = start_with_four(server, start_routed, "c-")
    worker.drain()
    wait_until(lambda: counts(api, url_of(api, "c-celery")) == (3, 1))
    worker.open_gate()
    wait_until(lambda: worker.state()["state"] == "drained")
    wait_until(lambda: counts(api, url_of(api, "c-celery")) == (3, 0))
    assert len(worker.ran()) == 1
    worker.resume()
    wait_until(lambda: len(worker.ran()) == 4)


def test_what_is_given_back_again_and_again_was_not_delivered(
    server: SqsServer, api: Any, start_routed: StartRouted
) -> None:
    rules = '{"celery": {"queue": "celery.dead", "maxDeliveries": 5}}'
    worker = start_with_four(server, start_routed, "g-", TASKYARD_DEAD_LETTERS=rules)
    for _ in range(8):
        wait_until(lambda: worker.state()["held"] == 4)
        worker.drain()
        wait_until(lambda: counts(api, url_of(api, "g-celery")) == (3, 1))
        worker.resume()
    worker.open_gate()
    wait_until(lambda: len(worker.ran()) == 4)


def test_dead_letters(server: SqsServer, api: Any, start_routed: StartRouted) -> None:
    config = settings("d-")
    worker = start_routed(server.url, config)
    app = App("client", broker=server.url, **config)
    api.send_message(QueueUrl=url_of(api, "d-celery"), MessageBody="gibberish")
    app.send_task("routing_jobs.reject", ("luck",), task_id="bad-luck")
    app.send_task("routing_jobs.mark", ("fine",))
    wait_until(lambda: worker.ran() == ["w0 fine"])
    wait_until(lambda: counts(api, url_of(api, "d-celery")) == (0, 0))
    wait_until(lambda: counts(api, url_of(api, "d-celery-dead"))[0] == 2)
    with open_store(app.conf) as store:
        letters = {letter.task: letter for letter in store.letters("celery.dead")}
        assert letters["routing_jobs.reject"].reason == "rejected by the task: no luck"
        assert "unreadable" in letters[None].reason
        assert store.replay("celery.dead", Wanted(ids=frozenset({"bad-luck"}))) == 1
        wait_until(lambda: worker.text().count("rejected: no luck") == 2)
        assert store.purge("celery.dead", Wanted()) >= 1


def test_predefined_queues_with_a_redrive_policy(
    server: SqsServer, api: Any, start_routed: StartRouted
) -> None:
    grave = api.create_queue(QueueName="grave")["QueueUrl"]
    arn = api.get_queue_attributes(QueueUrl=grave, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    url = api.create_queue(QueueName="jobs", Attributes={"RedrivePolicy": policy})["QueueUrl"]
    keys = {"access_key_id": "key", "secret_access_key": "secret"}
    options = {"predefined_queues": {"jobs": {"url": url, **keys}}, "queue_name_prefix": ""}
    config = {**settings("", **options), "task_default_queue": "jobs"}
    worker = start_routed(server.url, config)
    app = App("client", broker=server.url, **config)
    app.send_task("routing_jobs.mark", ("fine",))
    app.send_task("routing_jobs.reject", ("luck",))
    wait_until(lambda: worker.ran() == ["w0 fine"])
    wait_until(lambda: counts(api, grave)[0] == 1, what="redriven by SQS")
    wait_until(lambda: counts(api, url) == (0, 0), what="an empty queue")
