"""Queues, policies and permissions that other people made: told, and never harmed."""

from typing import Any

import amqp
import pytest

from taskyard_operator.api.names import QueueReason
from taskyard_operator.api.taskqueue import TaskQueueSpec
from taskyard_operator.brokers.base import BrokerError, QueueWatch
from taskyard_operator.core.queue import QueueDepth
from taskyard_operator.core.queue_plan import BrokerFamily, EnsureResult, QueuePlan, plan_queue
from tests.brokers.ports import free_ports
from tests.brokers.vhost import Vhost

pytestmark = pytest.mark.rabbitmq


def plan(spec: dict[str, Any], name: str = "email") -> QueuePlan:
    return plan_queue(TaskQueueSpec.model_validate(spec), name, BrokerFamily.RABBITMQ)


@pytest.fixture(params=["with management", "AMQP alone"])
def secret(request: pytest.FixtureRequest, rabbitmq_url: dict[str, str]) -> dict[str, str]:
    if request.param == "AMQP alone":
        rabbitmq_url["management-url"] = f"http://guest:guest@127.0.0.1:{free_ports(1)[0]}"
    return rabbitmq_url


DRIFT: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "priorities wanted": (
        {"maxPriority": 10},
        {},
        "x-max-priority (maxPriority) of queue email: broker has none, spec says 10",
    ),
    "priorities there": (
        {},
        {"arguments": {"x-max-priority": 5}},
        "x-max-priority (maxPriority) of queue email: broker has 5, spec has none",
    ),
    "quorum wanted": ({"type": "quorum"}, {}, "x-queue-type (type) of queue email: broker has "),
    "quorum there": (
        {},
        {"arguments": {"x-queue-type": "quorum"}},
        "x-queue-type (type) of queue email: broker has quorum, spec has none",
    ),
    "time to live": (
        {},
        {"arguments": {"x-message-ttl": 60_000_000}},
        "x-message-ttl of queue email: broker has 60000000, spec has none",
    ),
}
FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "not durable": ({"durable": False}, "durable of queue email: broker has false, spec says true"),
    "auto-delete": ({"auto_delete": True}, "auto_delete of queue email: broker has true, spec says false"),
    "stream": ({"arguments": {"x-queue-type": "stream"}}, "broker has stream"),
}


def declare(vhost: Vhost, **options: Any) -> None:
    """A queue as somebody else declared it, with a message in it."""
    with vhost.connect() as connection:
        channel = connection.channel()
        channel.queue_declare("email", **{"durable": True, "auto_delete": False, **options})
        channel.basic_publish_confirm(amqp.Message("kept", delivery_mode=2), routing_key="email")


@pytest.mark.parametrize("case", DRIFT)
def test_other_arguments_are_told_and_the_queue_goes_on(
    case: str, vhost: Vhost, secret: dict[str, str], on_broker: Any
) -> None:
    spec, options, words = DRIFT[case]
    declare(vhost, **options)
    before = vhost.queue("email")
    assert before

    async def scenario(broker: Any) -> tuple[EnsureResult, QueueDepth]:
        found = await broker.ensure(plan(spec))
        assert await broker.ensure(plan(spec)) == found
        return found, (await broker.depths([QueueWatch("email", "email.dead")]))["email"]

    found, depth = on_broker(secret, scenario)
    assert not found.created
    assert not found.foreign
    (drift,) = found.drift
    assert words in drift
    assert "Create a TaskQueue with another queueName" in drift
    assert (depth.ready, depth.dead) == (1, 0)
    after = vhost.queue("email")
    assert after
    assert after["arguments"] == before["arguments"]
    # Policies can be taken back, so that the promises hold as far as they can.
    assert ("taskyard.email" in vhost.policies()) == (found.limits == ())


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_no_task_queue_is_left_alone(
    case: str, vhost: Vhost, secret: dict[str, str], on_broker: Any
) -> None:
    options, words = FOREIGN[case]
    declare(vhost, **options)

    found = on_broker(secret, lambda broker: broker.ensure(plan({"messageTTL": "1s"})))
    assert found.foreign
    assert words in found.drift[0]
    assert "nothing was changed" in found.drift[0]
    assert vhost.policies() == {}
    assert vhost.queue("email.dead") is None
    assert {item["source"] for item in vhost.api("GET", f"queues/{vhost.name}/email/bindings")} == {""}


def test_an_exclusive_queue_of_somebody_else_is_a_failure_of_that_queue_alone(
    vhost: Vhost, secret: dict[str, str], on_broker: Any
) -> None:
    async def scenario(broker: Any) -> None:
        await broker.ensure(plan({}, "good"))
        with vhost.connect() as connection:
            connection.channel().queue_declare("email", exclusive=True)
            found = await broker.depths([QueueWatch("email"), QueueWatch("missing"), QueueWatch("good")])
        assert found["email"].reason == QueueReason.QUEUE_LOCKED
        assert found["missing"].reason == QueueReason.QUEUE_NOT_FOUND
        assert found["good"].ready == 0

    on_broker(secret, scenario)


def test_an_exchange_of_another_type_is_told_and_the_other_bindings_are_made(
    vhost: Vhost, secret: dict[str, str], on_broker: Any
) -> None:
    spec = {
        "bindings": [
            {"exchange": "tasks", "exchangeType": "topic", "routingKey": "#"},
            {"exchange": "fine", "exchangeType": "fanout"},
        ]
    }
    with vhost.connect() as connection:
        connection.channel().exchange_declare("tasks", "direct", durable=True, auto_delete=False)
    found = on_broker(secret, lambda broker: broker.ensure(plan(spec)))
    assert "received 'topic' but current is 'direct'" in found.drift[0]
    sources = {item["source"] for item in vhost.api("GET", f"queues/{vhost.name}/email/bindings")}
    assert sources == {"", "email", "fine"}


def test_without_the_management_api_what_needs_policies_is_told(
    vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    port = free_ports(1)[0]
    rabbitmq_url["management-url"] = f"http://guest:hidden@127.0.0.1:{port}"
    found = on_broker(rabbitmq_url, lambda broker: broker.ensure(plan({"messageTTL": "1h", "maxLength": 3})))
    (limit,) = found.limits
    assert limit.reason == QueueReason.POLICIES_UNAVAILABLE
    assert limit.message.startswith(
        "maxLength, messageTTL, overflow not in effect; dead letters are kept by Taskyard's own workers"
        " alone: "
        f"the management API at http://127.0.0.1:{port} cannot be reached"
    )
    assert "management-url" in limit.message
    assert "hidden" not in limit.message
    assert found.created
    assert vhost.queue("email.dead")
    plain = plan({"deadLetter": {"enabled": False}}, "plain")
    assert on_broker(rabbitmq_url, lambda broker: broker.ensure(plain)).limits == ()


@pytest.mark.parametrize("tags", ["", "management"])
def test_a_user_who_may_not_set_policies_is_told_the_remedy(
    tags: str, vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    vhost.user("worker", "hidden", tags)
    vhost.grant("worker")
    secret = {
        "url": vhost.server.url(vhost.name, "worker", "hidden"),
        "management-url": vhost.server.management_url("worker", "hidden"),
    }
    found = on_broker(secret, lambda broker: broker.ensure(plan({})))
    (limit,) = found.limits
    assert limit.reason == QueueReason.POLICIES_UNAVAILABLE
    assert "refuses user 'worker'" in limit.message
    assert "policymaker" in limit.message
    assert "hidden" not in limit.message


def test_a_policy_of_somebody_else_that_comes_first_is_told(
    vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    vhost.policy("ours", "^email", {"max-length": 5, "message-ttl": 1000}, priority=99)
    found = on_broker(rabbitmq_url, lambda broker: broker.ensure(plan({"maxLength": 5, "messageTTL": "1h"})))
    (limit,) = found.limits
    assert limit.reason == QueueReason.POLICY_SHADOWED
    assert "deadLetter, messageTTL, overflow of queue email not in effect: policy 'ours'" in limit.message
    assert vhost.policies()["ours"]["priority"] == 99


def test_a_policy_of_somebody_else_that_ours_hides_goes_on_in_ours(
    vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    vhost.policy("wide", ".*", {"max-length": 5, "message-ttl": 60_000}, priority=1)
    vhost.policy("wider", ".*", {"max-length": 6}, priority=0)

    async def scenario(broker: Any) -> None:
        assert (await broker.ensure(plan({"messageTTL": "1h"}))).limits == ()
        definition = vhost.policies()["taskyard.email"]["definition"]
        assert (definition["max-length"], definition["message-ttl"]) == (5, 3_600_000)
        vhost.policy("wide", ".*", {"max-length": 9}, priority=1)
        await broker.ensure(plan({"messageTTL": "1h"}))
        assert vhost.policies()["taskyard.email"]["definition"]["max-length"] == 9

    on_broker(rabbitmq_url, scenario)


def test_an_operator_policy_that_changes_a_value_is_told(
    vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    vhost.policy("limits", ".*", {"message-ttl": 1000, "max-length": 50}, kind="operator-policies")
    found = on_broker(rabbitmq_url, lambda broker: broker.ensure(plan({"messageTTL": "1h", "maxLength": 5})))
    (limit,) = found.limits
    assert limit.reason == QueueReason.OPERATOR_POLICY
    assert "sets messageTTL = 1000 for queue email" in limit.message


def test_policies_that_somebody_changed_are_put_right(
    vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    async def scenario(broker: Any) -> None:
        await broker.ensure(plan({"messageTTL": "1h"}))
        good = vhost.policies()
        vhost.policy("taskyard.email", ".*", {"message-ttl": 1}, priority=3)
        await broker.ensure(plan({"messageTTL": "1h"}))
        assert vhost.policies() == good

    on_broker(rabbitmq_url, scenario)


def test_wrong_password_missing_vhost_and_permissions_say_what_to_mend(
    vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    vhost.user("worker", "right")
    port = free_ports(1)[0]
    cases = {
        vhost.server.url(vhost.name, "guest", "hidden"): (
            QueueReason.AUTHENTICATION_FAILED,
            """user 'guest' or its password: correct key "url" of Secret "taskyard-broker\"""",
        ),
        vhost.server.url("nowhere"): (
            QueueReason.VIRTUAL_HOST_NOT_FOUND,
            "'nowhere' does not exist: create it",
        ),
        vhost.server.url(vhost.name, "worker", "right"): (
            QueueReason.ACCESS_DENIED,
            "user 'worker' may not use",
        ),
        f"amqp://guest:hidden@127.0.0.1:{port}//": (
            QueueReason.UNREACHABLE,
            f"127.0.0.1:{port} cannot be reached",
        ),
    }
    for url, (reason, words) in cases.items():
        with pytest.raises(BrokerError) as caught:
            on_broker({"url": url}, lambda broker: broker.depths([QueueWatch("email")]))
        assert caught.value.reason == reason
        assert words in caught.value.message
        assert "hidden" not in caught.value.message


def test_no_permission_to_declare_is_told_but_an_existing_queue_will_do(
    vhost: Vhost, rabbitmq_url: dict[str, str], on_broker: Any
) -> None:
    vhost.user("reader", "secret")
    vhost.grant("reader", configure="^$", write=".*", read=".*")
    secret = {"url": vhost.server.url(vhost.name, "reader", "secret"), "management-url": "http://127.0.0.1:1"}

    async def scenario(broker: Any) -> None:
        with pytest.raises(BrokerError) as caught:
            await broker.ensure(plan({}))
        assert caught.value.reason == QueueReason.ACCESS_DENIED
        assert "set_permissions" in caught.value.message
        with vhost.connect() as connection:
            channel = connection.channel()
            for name in ("email", "email.dead"):
                channel.queue_declare(name, durable=True, auto_delete=False)
            channel.exchange_declare("email", "direct", durable=True, auto_delete=False)
        found = await broker.ensure(plan({}))
        assert (found.created, found.drift) == (False, ())
        assert (await broker.depths([QueueWatch("email", "email.dead")]))["email"].ready == 0

    on_broker(secret, scenario)
