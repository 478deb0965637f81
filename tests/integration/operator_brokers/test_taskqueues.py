"""TaskQueues from their creation to their end: passes over an API server in memory, on real brokers."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import amqp
import pytest
import redis
from celery import Celery
from kombu import pools

from taskyard_operator.api import names
from taskyard_operator.brokers.poller import Poller, PollerSettings
from taskyard_operator.kube.secrets import Secrets
from taskyard_operator.reconcile.taskqueue import RESYNC, TaskQueueReconciler
from taskyard_operator.reconcile.work_queue import Key, WorkQueue
from tests.brokers.ports import free_ports
from tests.brokers.redis import RedisServer
from tests.brokers.vhost import Vhost
from tests.unit.operator_taskqueue.fake_kube import FakeKube

QUICK = PollerSettings(interval=0.1, longest_backoff=0.5, secret_interval=1.0)


class Operator:
    """The parts of the operator that look after TaskQueues."""

    def __init__(self, kube: FakeKube) -> None:
        self.kube = kube
        self.poller = Poller(Secrets(kube), self.wake, settings=QUICK)
        reconciler = TaskQueueReconciler(kube, self.poller, wake=self.wake)
        self.queue = WorkQueue({names.TASKQUEUE_KIND: reconciler.reconcile})

    def wake(self, namespace: str, name: str) -> None:
        self.queue.add(Key(names.TASKQUEUE_KIND, namespace, name))

    def put(self, name: str = "email", namespace: str = "shop", **spec: Any) -> None:
        self.kube.put(name, spec, namespace=namespace)
        self.wake(namespace, name)

    def delete(self, name: str = "email", namespace: str = "shop") -> None:
        self.kube.delete(name, namespace)
        self.wake(namespace, name)

    async def until(self, true: Callable[[], Any], seconds: float = 60.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < deadline, (self.kube.objects, self.kube.events)
            await asyncio.sleep(0.02)
        return found

    async def says(
        self, type_: str, status: str, reason: str, name: str = "email", namespace: str = "shop"
    ) -> str:
        await self.until(lambda: self.kube.says(name, type_, namespace) == (status, reason))
        message: str = self.kube.condition(name, type_, namespace)["message"]
        return message

    async def ready(self, name: str = "email", namespace: str = "shop") -> str:
        return await self.says("Ready", "True", "Synced", name, namespace)


def operating(kube: FakeKube, scenario: Callable[[Operator], Awaitable[None]]) -> None:
    async def main() -> None:
        operator = Operator(kube)
        loop = asyncio.create_task(operator.queue.run())
        try:
            await scenario(operator)
        finally:
            await operator.queue.stop(5)
            await loop
            await operator.poller.close()

    asyncio.run(main())


@pytest.fixture
def rabbitmq(rabbitmq_url: dict[str, str]) -> FakeKube:
    kube = FakeKube()
    kube.secret(rabbitmq_url)
    return kube


@pytest.fixture
def redis_kube(redis_server: RedisServer) -> FakeKube:
    kube = FakeKube()
    kube.secret({"url": redis_server.url.replace(" ", "%20")})
    return kube


@pytest.fixture(
    params=[
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
        pytest.param("redis", marks=pytest.mark.redis),
    ]
)
def either(request: pytest.FixtureRequest) -> tuple[FakeKube, str]:
    if request.param == "rabbitmq":
        return request.getfixturevalue("rabbitmq"), request.getfixturevalue("rabbitmq_url")["url"]
    server = request.getfixturevalue("redis_server")
    return request.getfixturevalue("redis_kube"), server.url.replace(" ", "%20")


def publish(url: str, queue: str = "email") -> None:
    pools.reset()
    app = Celery("client", broker=url, set_as_current=False)
    if url.startswith("amqp"):
        app.conf.broker_transport_options = {"confirm_publish": True}
    try:
        app.send_task("send", queue=queue, retry=False, ignore_result=True)
    finally:
        app.close()


def test_a_task_queue_becomes_ready_and_counts(either: tuple[FakeKube, str]) -> None:
    kube, url = either

    async def scenario(operator: Operator) -> None:
        operator.put()
        await operator.ready()
        await operator.says("BrokerReachable", "True", "Connected")
        await operator.says("Drifted", "False", "InSync")
        await operator.says("Limited", "False", "InEffect")
        assert {item["observedGeneration"] for item in kube.status("email")["conditions"]} == {1}
        await operator.until(lambda: kube.status("email").get("messages"))
        status = kube.status("email")
        assert (status["queueName"], status["observedGeneration"], status["summary"]) == (
            "email",
            1,
            "Synced",
        )
        assert "guest" not in json.dumps(status)
        assert "secret" not in json.dumps(status)
        assert (status["messages"]["ready"], status["messages"]["dead"]) == (0, 0)
        publish(url)
        await operator.until(lambda: kube.status("email")["messages"]["ready"] == 1)
        assert kube.status("email")["lastPolled"]
        assert kube.events == [("Normal", "Synced", "queue email is at the broker")]
        writes = len(kube.writes)
        await asyncio.sleep(2)
        assert len(kube.writes) <= writes + 1  # numbers are not written with each poll

    operating(kube, scenario)


@pytest.mark.rabbitmq
def test_a_change_is_in_effect_without_waiting_for_the_next_look(rabbitmq: FakeKube, vhost: Vhost) -> None:
    async def scenario(operator: Operator) -> None:
        operator.put()
        await operator.ready()
        operator.put(messageTTL="1h")
        await operator.until(
            lambda: vhost.policies()["taskyard.email"]["definition"].get("message-ttl") == 3_600_000,
            RESYNC / 2,
        )
        await operator.until(lambda: rabbitmq.status("email")["observedGeneration"] == 2)
        await operator.ready()

    operating(rabbitmq, scenario)


@pytest.mark.rabbitmq
def test_a_queue_that_somebody_deletes_comes_back(rabbitmq: FakeKube, vhost: Vhost) -> None:
    async def scenario(operator: Operator) -> None:
        operator.put()
        await operator.ready()
        with vhost.connect() as connection:
            connection.channel().queue_delete("email")
            await operator.until(lambda: vhost.queue("email"))
            connection.channel().queue_delete("email.dead")
            await operator.until(lambda: vhost.queue("email.dead"))
        await operator.ready()

    operating(rabbitmq, scenario)


@pytest.mark.rabbitmq
def test_drift_is_told_once_and_the_queue_counts(rabbitmq: FakeKube, vhost: Vhost) -> None:
    with vhost.connect() as connection:
        channel = connection.channel()
        channel.queue_declare("email", durable=True, auto_delete=False)
        channel.basic_publish_confirm(amqp.Message("kept"), routing_key="email")

    async def scenario(operator: Operator) -> None:
        operator.put(maxPriority=10)
        message = await operator.says("Drifted", "True", "ArgumentsDiffer")
        assert "x-max-priority (maxPriority) of queue email: broker has none, spec says 10" in message
        words = await operator.ready()
        assert "task_queue_max_priority = 10" in words
        await operator.until(lambda: rabbitmq.status("email").get("messages", {}).get("ready") == 1)
        for _ in range(5):
            operator.wake("shop", "email")
            await asyncio.sleep(0.2)
        assert [event[:2] for event in rabbitmq.events] == [
            ("Normal", "Synced"),
            ("Warning", "ArgumentsDiffer"),
        ]

    operating(rabbitmq, scenario)


@pytest.mark.rabbitmq
def test_something_else_of_the_name_is_not_ready(rabbitmq: FakeKube, vhost: Vhost) -> None:
    with vhost.connect() as connection:
        connection.channel().queue_declare("email", durable=False, auto_delete=False)

        async def scenario(operator: Operator) -> None:
            operator.put()
            await operator.says("Ready", "False", "NotAQueue")
            await operator.says("Drifted", "True", "ArgumentsDiffer")

        operating(rabbitmq, scenario)


@pytest.mark.redis
def test_what_redis_cannot_do_is_told(redis_kube: FakeKube) -> None:
    async def scenario(operator: Operator) -> None:
        operator.put(messageTTL="1h", maxLength=5)
        message = await operator.says("Limited", "True", "NotSupported")
        assert "messageTTL: messages on Redis do not expire" in message
        assert "maxLength: a list on Redis has no limit" in message
        await operator.ready()
        operator.put("solid", type="quorum")
        message = await operator.says("Ready", "False", "NotSupported", "solid")
        assert "type: quorum is RabbitMQ's" in message

    operating(redis_kube, scenario)


def test_a_wrong_password_is_told_with_secret_and_key_and_mended(either: tuple[FakeKube, str]) -> None:
    kube, url = either
    good = {"url": url}

    async def scenario(operator: Operator) -> None:
        operator.put()
        await operator.ready()
        await operator.until(lambda: kube.status("email").get("messages"))
        kube.secret({"url": url.replace("guest:guest", "guest:hidden").replace("secret%20word", "hidden")})
        message = await operator.says("BrokerReachable", "False", "AuthenticationFailed")
        assert 'key "url" of Secret "taskyard-broker"' in message
        assert "hidden" not in json.dumps(kube.status("email"))
        await operator.says("Ready", "Unknown", "AuthenticationFailed")
        assert kube.status("email")["messages"]["ready"] == 0  # the last that was known
        await operator.until(lambda: kube.status("email")["summary"] == "AuthenticationFailed")
        kube.secret(good)
        await operator.says("BrokerReachable", "True", "Connected")
        await operator.ready()
        assert ("Warning", "AuthenticationFailed") in [event[:2] for event in kube.events]

    operating(kube, scenario)


def test_a_missing_secret_is_told_and_awaited() -> None:
    kube = FakeKube()

    async def scenario(operator: Operator) -> None:
        operator.put(broker={"secretRef": {"name": "mine", "key": "amqp"}})
        message = await operator.says("BrokerReachable", "False", "SecretNotFound")
        assert message == 'Secret "mine" does not exist: create it with the broker URL in key "amqp"'
        await operator.says("Ready", "False", "SecretNotFound")
        kube.secret({"amqp": "sqs://key:hidden@"}, "mine")
        message = await operator.says("BrokerReachable", "False", "NotSupported")
        assert "Amazon SQS" in message
        assert "hidden" not in message

    operating(kube, scenario)


@pytest.mark.rabbitmq
def test_the_older_of_two_task_queues_keeps_the_queue(
    rabbitmq: FakeKube, rabbitmq_url: dict[str, str], vhost: Vhost
) -> None:
    rabbitmq.secret(rabbitmq_url, namespace="other")

    async def scenario(operator: Operator) -> None:
        # The younger one is looked at first.
        rabbitmq.put("older", {"queueName": "email", "messageTTL": "1h"}, created="2025-01-01T00:00:00Z")
        operator.put("email", "other", messageTTL="1s")
        message = await operator.says("Ready", "False", "QueueNameConflict", "email", "other")
        assert "the older TaskQueue shop/older stands for queue email" in message
        assert vhost.policies() == {}
        operator.wake("shop", "older")
        await operator.ready("older")
        assert vhost.policies()["taskyard.email"]["definition"]["message-ttl"] == 3_600_000
        operator.delete("older")
        await operator.ready("email", "other")
        assert vhost.policies()["taskyard.email"]["definition"]["message-ttl"] == 1000

    operating(rabbitmq, scenario)


def test_retain_keeps_the_queue_and_its_messages(either: tuple[FakeKube, str]) -> None:
    kube, url = either

    async def scenario(operator: Operator) -> None:
        operator.put()
        await operator.ready()
        assert "finalizers" not in kube.objects["taskqueues", "shop", "email"]["metadata"]
        publish(url)
        operator.delete()
        await operator.until(lambda: operator.poller.sample("shop", "email") is None)
        await asyncio.sleep(0.5)
        operator.put("again", queueName="email")
        await operator.until(lambda: kube.status("again").get("messages", {}).get("ready") == 1)

    operating(kube, scenario)


@pytest.mark.rabbitmq
def test_retain_takes_the_policies_away(rabbitmq: FakeKube, vhost: Vhost) -> None:
    async def scenario(operator: Operator) -> None:
        operator.put(messageTTL="1h", deadLetter={"messageTTL": "2h"})
        await operator.ready()
        assert len(vhost.policies()) == 2
        operator.delete()
        await operator.until(lambda: vhost.policies() == {})
        assert vhost.queue("email")

    operating(rabbitmq, scenario)


def test_delete_waits_until_the_queue_is_empty(
    either: tuple[FakeKube, str], request: pytest.FixtureRequest
) -> None:
    kube, url = either

    async def scenario(operator: Operator) -> None:
        operator.put(deletionPolicy="Delete")
        await operator.ready()
        assert kube.objects["taskqueues", "shop", "email"]["metadata"]["finalizers"] == [
            names.FINALIZER_BROKER_QUEUE
        ]
        publish(url)
        operator.delete()
        message = await operator.says("Deleting", "True", "Blocked")
        assert "1 " in message
        assert "deletionPolicy is Delete" in message
        await operator.until(lambda: kube.status("email")["summary"] == "Blocked")
        await asyncio.to_thread(take_all, url)
        await operator.until(lambda: not kube.exists("email"))

    operating(kube, scenario)
    if "rabbitmq" in url or url.startswith("amqp"):
        vhost = request.getfixturevalue("vhost")
        assert vhost.queue("email") is None
        assert vhost.queue("email.dead") is None
        assert vhost.policies() == {}


def take_all(url: str) -> None:
    """Work off what is in the queue."""
    from kombu import Connection, Queue

    with Connection(url) as connection:
        queue = Queue("email", channel=connection.default_channel)
        while (message := queue.get()) is not None:
            message.ack()


def test_purge_deletes_the_queue_with_its_messages(
    either: tuple[FakeKube, str], request: pytest.FixtureRequest
) -> None:
    kube, url = either

    async def scenario(operator: Operator) -> None:
        operator.put(deletionPolicy="Purge")
        await operator.ready()
        publish(url)
        operator.delete()
        await operator.until(lambda: not kube.exists("email"))

    operating(kube, scenario)
    if url.startswith("amqp"):
        assert request.getfixturevalue("vhost").queue("email") is None
    else:
        server = request.getfixturevalue("redis_server")
        client = redis.Redis(port=server.port, password=server.password)
        assert client.keys("*email*") == []
        client.close()


@pytest.mark.rabbitmq
def test_a_queue_that_another_task_queue_names_is_not_purged(rabbitmq: FakeKube, vhost: Vhost) -> None:
    async def scenario(operator: Operator) -> None:
        operator.put("older", queueName="email", deletionPolicy="Purge")
        await operator.ready("older")
        operator.put("younger", queueName="email")
        await operator.says("Ready", "False", "QueueNameConflict", "younger")
        operator.put(
            "graves", queueName="email2", deadLetter={"queueName": "email.dead"}, deletionPolicy="Purge"
        )
        await operator.ready("graves")
        operator.delete("older")
        await operator.until(lambda: not rabbitmq.exists("older"))
        await operator.ready("younger")
        assert vhost.queue("email")
        operator.delete("graves")
        await operator.until(lambda: not rabbitmq.exists("graves"))
        assert vhost.queue("email2") is None
        assert vhost.queue("email.dead")  # the younger one's too
        assert [event for event in rabbitmq.events if event[1] == "BrokerQueueKept"] == [
            ("Warning", "BrokerQueueKept", "queue email stays at the broker: TaskQueue shop/younger names it")
        ]

    operating(rabbitmq, scenario)


def test_deletion_waits_for_a_broker_that_is_away_or_is_let_go() -> None:
    server = RedisServer()
    kube = FakeKube()

    async def scenario(operator: Operator) -> None:
        kube.secret({"url": server.url})
        for name in ("first", "second", "third"):
            operator.put(name, deletionPolicy="Purge")
            await operator.ready(name)
        server.stop()
        for name in ("first", "second"):
            operator.delete(name)
            message = await operator.says("Deleting", "True", "Unreachable", name)
            assert names.ANNOTATION_ABANDON_QUEUE in message
        kube.objects["taskqueues", "shop", "second"]["metadata"]["annotations"] = {
            names.ANNOTATION_ABANDON_QUEUE: "true"
        }
        operator.wake("shop", "second")
        await operator.until(lambda: not kube.exists("second"))
        assert kube.exists("first")
        server.start()
        await operator.until(lambda: not kube.exists("first"))
        # A namespace on its way out has lost its Secrets: nothing to wait for.
        del kube.objects["secrets", "shop", "taskyard-broker"]
        await operator.says("BrokerReachable", "False", "SecretNotFound", "third")
        operator.delete("third")
        await operator.until(lambda: not kube.exists("third"))

    with server:
        operating(kube, scenario)


@pytest.mark.redis
def test_one_broken_broker_does_not_hold_up_the_others(redis_kube: FakeKube) -> None:
    async def scenario(operator: Operator) -> None:
        redis_kube.secret({"url": f"amqp://u:p@127.0.0.1:{free_ports(1)[0]}//"}, "closed")
        redis_kube.secret({"url": "amqp://u:p@198.51.100.1//"}, "nowhere")  # nobody answers there
        for number in range(20):
            operator.put(f"closed{number}", broker={"secretRef": {"name": "closed"}})
            operator.put(f"nowhere{number}", broker={"secretRef": {"name": "nowhere"}})
        await operator.until(lambda: redis_kube.says("closed0", "BrokerReachable")[0] == "False")
        began = time.monotonic()
        operator.put()
        await operator.ready()
        assert time.monotonic() - began < 20  # one after the other the broken ones would take minutes

    operating(redis_kube, scenario)


@pytest.mark.redis
def test_a_restarted_operator_takes_over_without_a_trace(redis_kube: FakeKube) -> None:
    async def first(operator: Operator) -> None:
        operator.put()
        await operator.ready()
        await operator.until(lambda: redis_kube.status("email").get("messages"))

    operating(redis_kube, first)
    conditions, events = redis_kube.status("email")["conditions"], len(redis_kube.events)

    async def second(operator: Operator) -> None:
        operator.wake("shop", "email")
        await operator.until(lambda: operator.poller.sample("shop", "email"))
        await asyncio.sleep(1)

    operating(redis_kube, second)
    assert redis_kube.status("email")["conditions"] == conditions
    assert len(redis_kube.events) == events


def test_no_secret_reaches_the_log(either: tuple[FakeKube, str], caplog: pytest.LogCaptureFixture) -> None:
    kube, url = either
    wrong = url.replace("guest:guest", "guest:pa55word").replace("secret%20word", "pa55word")

    async def scenario(operator: Operator) -> None:
        kube.secret({"url": wrong, "management-url": "http://guest:pa55word@127.0.0.1:1"})
        operator.put()
        await operator.says("BrokerReachable", "False", "AuthenticationFailed")
        for number, text in enumerate(
            ["pa55word", "amqp://u:pa55word", "redis://:pa55word@h:x/0", "pa55word://h"]
        ):
            kube.secret({"url": text}, f"odd{number}")
            operator.put(f"odd{number}", broker={"secretRef": {"name": f"odd{number}"}})
            await operator.until(lambda: "False" in odd_ones())

    def odd_ones() -> set[str]:
        """What is said of the brokers of all odd TaskQueues, if it is the same of all."""
        said = {
            kube.says(name, "BrokerReachable")[0] for _, _, name in kube.objects if name.startswith("odd")
        }
        return said if len(said) == 1 else set()

    with caplog.at_level("DEBUG"):
        operating(kube, scenario)
    said = caplog.text + json.dumps(kube.events) + json.dumps([kube.status(f"odd{n}") for n in range(4)])
    assert "pa55word" not in said
