"""What the operator makes of a spec on RabbitMQ, and that clients and messages fare as promised."""

import json
import time
from typing import Any

import amqp
import pytest
from celery import Celery
from kombu import pools

from taskyard_operator.api.taskqueue import TaskQueueSpec
from taskyard_operator.brokers.base import QueueWatch
from taskyard_operator.core.queue_plan import BrokerFamily, EnsureResult, QueuePlan, plan_queue
from tests.brokers.vhost import Vhost

pytestmark = pytest.mark.rabbitmq

BARE: dict[str, dict[str, Any]] = {
    "default": {},
    "no dead letters": {"deadLetter": {"enabled": False}},
    "everything a policy can": {
        "messageTTL": "24h",
        "maxLength": 1000,
        "overflow": "reject-publish-dlx",
        "deadLetter": {"queueName": "graves", "maxDeliveries": 3, "messageTTL": "7d"},
    },
    "drop-head": {"maxLength": 5, "overflow": "drop-head"},
    "bindings": {
        "bindings": [
            {"exchange": "tasks", "exchangeType": "topic", "routingKey": "email.#"},
            {"exchange": "all", "exchangeType": "fanout"},
            {"exchange": "more", "routingKey": "mail"},
        ]
    },
}
CONFIGURED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "quorum": ({"type": "quorum"}, {"task_create_missing_queue_type": "quorum"}),
    "priorities": ({"maxPriority": 10}, {"task_queue_max_priority": 10}),
}


def plan(spec: dict[str, Any], name: str = "email") -> QueuePlan:
    return plan_queue(TaskQueueSpec.model_validate(spec), name, BrokerFamily.RABBITMQ)


def publish(url: str, **settings: Any) -> None:
    """Send as a Celery client in a process of its own does: it remembers no earlier declaration."""
    pools.reset()
    app = Celery("client", broker=url, set_as_current=False)
    app.conf.update(settings, broker_transport_options={"confirm_publish": True})
    try:
        app.send_task("send", queue="email", retry=False, ignore_result=True)
    finally:
        app.close()


async def depth(broker: Any, dead: str | None = "email.dead") -> Any:
    return (await broker.depths([QueueWatch("email", dead)]))["email"]


@pytest.mark.parametrize("kind", BARE)
def test_a_bare_celery_client_publishes_to_every_kind(
    kind: str, vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    spec = BARE[kind]

    async def scenario(broker: Any) -> None:
        assert await broker.ensure(plan(spec)) == EnsureResult(created=True)
        publish(vhost.url)
        await wait_for(broker, lambda it: it.ready == 1, dead=None)
        assert await broker.ensure(plan(spec)) == EnsureResult()
        publish(vhost.url)
        await wait_for(broker, lambda it: it.ready == 2, dead=None)

    on_broker(rabbitmq_url, scenario)


@pytest.mark.parametrize("kind", CONFIGURED)
def test_what_changes_the_declaration_needs_the_client_configured_as_the_plan_says(
    kind: str, vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    spec, settings = CONFIGURED[kind]

    async def scenario(broker: Any) -> None:
        assert await broker.ensure(plan(spec)) == EnsureResult(created=True)
        assert await broker.ensure(plan(spec)) == EnsureResult()
        ((name, value),) = settings.items()
        (words,) = plan(spec).clients
        assert words.startswith(f"{name} = " + json.dumps(value))
        publish(vhost.url, **settings)
        await wait_for(broker, lambda it: it.ready == 1)
        with pytest.raises(amqp.PreconditionFailed):
            publish(vhost.url)

    on_broker(rabbitmq_url, scenario)


def test_bindings_feed_the_queue(vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any) -> None:
    async def scenario(broker: Any) -> None:
        await broker.ensure(plan(BARE["bindings"]))
        with vhost.connect() as connection:
            channel = connection.channel()
            for exchange, key in [
                ("tasks", "email.new"),
                ("all", ""),
                ("more", "mail"),
                ("email", "email"),
                ("tasks", "other"),
            ]:
                channel.basic_publish_confirm(amqp.Message("x"), exchange=exchange, routing_key=key)
        await wait_for(broker, lambda it: it.ready == 4)

    on_broker(rabbitmq_url, scenario)


def test_a_rejected_message_is_a_dead_letter(
    vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    async def scenario(broker: Any) -> None:
        await broker.ensure(plan({}))
        publish(vhost.url)
        with vhost.connect() as connection:
            channel = connection.channel()
            message = channel.basic_get("email")
            channel.basic_reject(message.delivery_tag, requeue=False)
        await wait_for(broker, lambda it: (it.ready, it.dead) == (0, 1))

    on_broker(rabbitmq_url, scenario)


def test_an_expired_message_is_a_dead_letter_and_dead_letters_expire(
    vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    async def scenario(broker: Any) -> None:
        await broker.ensure(plan({"messageTTL": "1s", "deadLetter": {"messageTTL": "1h"}}))
        publish(vhost.url)
        await wait_for(broker, lambda it: (it.ready, it.dead) == (0, 1))
        await broker.ensure(plan({"messageTTL": "1s", "deadLetter": {"messageTTL": "1s"}}))
        with vhost.connect() as connection:
            channel = connection.channel()
            channel.queue_purge("email.dead")
            channel.basic_publish_confirm(amqp.Message("x"), routing_key="email.dead")
        await wait_for(broker, lambda it: it.dead == 0)

    on_broker(rabbitmq_url, scenario)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_full_queue_refuses_by_default(
    kind: str, vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    async def scenario(broker: Any) -> None:
        await broker.ensure(plan({"maxLength": 2, "type": kind}))
        refused = flood(vhost, 8)
        # A quorum queue notices a little late.
        assert refused == 6 or (kind == "quorum" and refused >= 1)
        await wait_for(broker, lambda it: (it.ready, it.dead) == (8 - refused, 0))

    on_broker(rabbitmq_url, scenario)


@pytest.mark.parametrize(("overflow", "refused"), [("drop-head", 0), ("reject-publish-dlx", 2)])
def test_overflow_ends_in_the_dead_letters(
    overflow: str, refused: int, vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    async def scenario(broker: Any) -> None:
        await broker.ensure(plan({"maxLength": 2, "overflow": overflow}))
        assert flood(vhost, 4) == refused
        await wait_for(broker, lambda it: (it.ready, it.dead) == (2, 2))

    on_broker(rabbitmq_url, scenario)


@pytest.mark.parametrize("deliveries", [1, 3])
def test_a_quorum_queue_delivers_no_more_often_than_max_deliveries(
    deliveries: int, vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    spec = {"type": "quorum", "deadLetter": {"maxDeliveries": deliveries}}

    async def scenario(broker: Any) -> None:
        await broker.ensure(plan(spec))
        publish(vhost.url, task_create_missing_queue_type="quorum")
        seen = 0
        with vhost.connect() as connection:
            channel = connection.channel()
            deadline = time.monotonic() + 60
            while (await depth(broker)).dead == 0 and time.monotonic() < deadline:
                message = channel.basic_get("email")
                if message is not None:
                    seen += 1
                    channel.basic_reject(message.delivery_tag, requeue=True)
        assert seen == deliveries

    on_broker(rabbitmq_url, scenario)


def test_a_changed_spec_changes_the_policies_and_only_those(
    vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    full = {"messageTTL": "1h", "maxLength": 7, "deadLetter": {"messageTTL": "1h"}}

    async def scenario(broker: Any) -> None:
        await broker.ensure(plan(full))
        assert vhost.policies()["taskyard.email"]["definition"] == {
            "message-ttl": 3_600_000,
            "max-length": 7,
            "overflow": "reject-publish",
            "dead-letter-exchange": "",
            "dead-letter-routing-key": "email.dead",
        }
        assert vhost.policies()["taskyard-dead.email"]["pattern"] == r"^email\.dead$"
        assert await broker.ensure(plan({"messageTTL": "2h"})) == EnsureResult()
        assert vhost.policies().keys() == {"taskyard.email"}
        assert vhost.policies()["taskyard.email"]["definition"]["message-ttl"] == 7_200_000
        assert await broker.ensure(plan({"deadLetter": {"enabled": False}})) == EnsureResult()
        assert vhost.policies() == {}

    on_broker(rabbitmq_url, scenario)


def test_policies_touch_no_queue_with_a_similar_name(
    vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    async def scenario(broker: Any) -> None:
        await broker.ensure(plan({"messageTTL": "1s"}, "a.b"))
        await broker.ensure(plan({"deadLetter": {"enabled": False}}, "a-b"))
        await broker.ensure(plan({"deadLetter": {"enabled": False}}, "a.b.c"))

    on_broker(rabbitmq_url, scenario)
    with vhost.connect() as connection:
        channel = connection.channel()
        for name in ("a-b", "a.b.c", "a.b"):
            channel.basic_publish_confirm(amqp.Message("x"), routing_key=name)

        def left(name: str) -> int:
            return int(channel.queue_declare(name, passive=True).message_count)

        deadline = time.monotonic() + 60
        while left("a.b"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert (left("a-b"), left("a.b.c")) == (1, 1)  # they came first and would be gone


@pytest.mark.parametrize("name", ["büro", "a+b(c)*", "x/y:z#1", 'quo"te', "back\\slash", "%2F"])
def test_odd_names_work(name: str, vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any) -> None:
    async def scenario(broker: Any) -> None:
        assert await broker.ensure(plan({"messageTTL": "1s"}, name)) == EnsureResult(created=True)
        with vhost.connect() as connection:
            channel = connection.channel()
            channel.basic_publish_confirm(amqp.Message("x"), routing_key=name)
        deadline = time.monotonic() + 60
        while True:
            found = (await broker.depths([QueueWatch(name, f"{name}.dead")]))[name]
            if found.dead == 1 and found.unacknowledged is not None:
                break
            assert time.monotonic() < deadline, found
        assert (await broker.remove(plan({}, name), queue=True, if_empty=False)).blocked is None

    on_broker(rabbitmq_url, scenario)
    assert vhost.queue(name) is None
    assert vhost.policies() == {}


def flood(vhost: Vhost, count: int) -> int:
    """Publish with confirms; how many were refused."""
    refused = 0
    with vhost.connect() as connection:
        channel = connection.channel()
        for _ in range(count):
            try:
                channel.basic_publish_confirm(amqp.Message("x", delivery_mode=2), routing_key="email")
            except amqp.exceptions.MessageNacked:
                refused += 1
    return refused


async def wait_for(broker: Any, true: Any, seconds: float = 60.0, dead: str | None = "email.dead") -> Any:
    """Two queues are counted one after the other: a message on its way between them may count in both."""
    deadline = time.monotonic() + seconds
    while True:
        found = await depth(broker, dead)
        if true(found):
            return found
        assert time.monotonic() < deadline, found
