"""TaskQueues on Redis, with bare Celery clients and kombu consumers beside."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection, Exchange, Producer, Queue, pools

from taskyard_operator.api.names import QueueReason
from taskyard_operator.api.taskqueue import TaskQueueSpec
from taskyard_operator.brokers import redis_script
from taskyard_operator.brokers.base import BrokerError, QueueWatch
from taskyard_operator.core.queue import QueueDepth
from taskyard_operator.core.queue_plan import BrokerFamily, EnsureResult, QueuePlan, plan_queue
from tests.brokers.ports import free_ports
from tests.brokers.redis import RedisServer

pytestmark = pytest.mark.redis

KINDS: dict[str, dict[str, Any]] = {
    "default": {},
    "no dead letters": {"deadLetter": {"enabled": False}},
    "priorities": {"maxPriority": 9},
    "direct binding": {"bindings": [{"exchange": "tasks", "routingKey": "mail"}]},
    "refused settings": {
        "messageTTL": "1h",
        "maxLength": 5,
        "maxPriority": 10,
        "bindings": [{"exchange": "all", "exchangeType": "fanout"}],
        "deadLetter": {"messageTTL": "1h"},
    },
}


def plan(spec: dict[str, Any], name: str = "email") -> QueuePlan:
    return plan_queue(TaskQueueSpec.model_validate(spec), name, BrokerFamily.REDIS)


@pytest.fixture
def secret(redis_server: RedisServer) -> dict[str, str]:
    return {"url": redis_server.url.replace(" ", "%20")}


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    client = redis.Redis(port=redis_server.port, password=redis_server.password, decode_responses=True)
    yield client
    client.close()


def publish(url: str, **options: Any) -> None:
    pools.reset()
    app = Celery("client", broker=url, set_as_current=False)
    try:
        app.send_task("send", queue="email", retry=False, ignore_result=True, **options)
    finally:
        app.close()


async def depth(broker: Any, *routing_keys: str, dead: str | None = "email.dead") -> Any:
    return (await broker.depths([QueueWatch("email", dead, routing_keys)]))["email"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bare_celery_client_publishes_to_every_kind(
    kind: str, secret: dict[str, str], on_broker: Any
) -> None:
    async def scenario(broker: Any) -> None:
        found = await broker.ensure(plan(KINDS[kind]))
        assert (found.created, found.drift) == (True, ())
        publish(secret["url"])
        assert (await depth(broker)).ready == 1
        assert not (await broker.ensure(plan(KINDS[kind]))).created

    on_broker(secret, scenario)


def test_the_binding_is_the_one_that_kombu_makes(
    secret: dict[str, str], client: "redis.Redis", on_broker: Any
) -> None:
    on_broker(secret, lambda broker: broker.ensure(plan(KINDS["direct binding"])))
    made = {key: client.smembers(key) for key in client.keys("_kombu*")}
    client.flushall()
    with Connection(secret["url"]) as connection:
        channel = connection.default_channel
        Queue("email", Exchange("email"), "email", channel=channel).declare()
        Queue("email", Exchange("tasks"), "mail", channel=channel).declare()
    assert made == {key: client.smembers(key) for key in client.keys("_kombu*")}


def test_a_binding_made_by_the_operator_routes(secret: dict[str, str], on_broker: Any) -> None:
    async def scenario(broker: Any) -> None:
        await broker.ensure(plan(KINDS["direct binding"]))
        with Connection(secret["url"]) as connection:
            Producer(connection.default_channel).publish({}, exchange="tasks", routing_key="mail")
            found = await depth(broker, "mail")
            assert (found.ready, found.unacknowledged) == (1, 0)
            queue = Queue("email", channel=connection.default_channel)
            message = take(connection, queue)
            found = await depth(broker, "mail")
            assert (found.ready, found.unacknowledged) == (0, 1)
            message.ack()
        assert (await depth(broker, "mail")).unacknowledged == 0

    on_broker(secret, scenario)


def test_counts_are_exact(secret: dict[str, str], client: "redis.Redis", on_broker: Any) -> None:
    async def scenario(broker: Any) -> None:
        for priority in (0, 2, 3, 5, 6, 9):
            publish(secret["url"], priority=priority)
        client.zadd("taskyard:schedule:email", {"due": time.time() - 5, "later": time.time() + 500})
        client.rpush("email.dead", "a", "b")
        assert await depth(broker) == QueueDepth(
            ready=7, unacknowledged=0, dead=2, consumers=None, oldest_age=None
        )
        with Connection(secret["url"]) as connection:
            queue = Queue("email", channel=connection.default_channel)
            messages = [take(connection, queue) for _ in range(4)]
            found = await depth(broker)
            assert (found.ready, found.unacknowledged) == (3, 4)
            messages[0].ack()
            messages[1].requeue()
            found = await depth(broker)
            assert (found.ready, found.unacknowledged) == (4, 2)
        assert (await depth(broker, dead=None)).dead is None

    on_broker(secret, scenario)


def test_in_flight_is_told_apart_by_routing_key(
    secret: dict[str, str], client: "redis.Redis", on_broker: Any
) -> None:
    entries: dict[Any, Any] = {
        "1": json.dumps([{"body": "x"}, "", "email"]),
        "2": json.dumps([{"body": "x"}, "", "email"], separators=(",", ":")),
        "3": json.dumps([{"body": '"email"]'}, "", "other"]),
        "4": json.dumps([{"body": "x"}, "", "büro"]),
        "5": json.dumps([{"body": "x"}, "", "büro"], ensure_ascii=False),
        "6": json.dumps([{"body": "x"}, "", 'quo"te']),
        "7": "not JSON",
        "8": json.dumps({"a": 1}),
        "9": json.dumps([{"body": "x" * 10_000}, "exchange", "email"]),
    }
    client.hset("unacked", mapping=entries)
    names = ["email", "other", "büro", 'quo"te', "none"]

    async def scenario(broker: Any) -> list[int]:
        found = await broker.depths([QueueWatch(name) for name in names])
        return [found[name].unacknowledged for name in names]

    assert on_broker(secret, scenario) == [3, 1, 2, 1, 0]


def test_many_in_flight_are_estimated(
    secret: dict[str, str], client: "redis.Redis", on_broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = json.dumps([{"body": "x" * 200}, "", "email"])
    entries: dict[Any, Any] = {str(number): entry for number in range(3000)}
    client.hset("unacked", mapping=entries)
    assert on_broker(secret, depth).unacknowledged == 3000
    monkeypatch.setattr(redis_script, "MOST_ENTRIES", 500)
    assert on_broker(secret, depth).unacknowledged == 3000
    monkeypatch.setattr(redis_script, "MOST_ENTRIES", 5000)
    monkeypatch.setattr(redis_script, "MOST_BYTES", 50_000)
    assert on_broker(secret, depth).unacknowledged == 3000


def test_one_look_at_a_thousand_queues_and_in_flight_messages_is_quick(
    secret: dict[str, str], client: "redis.Redis", on_broker: Any
) -> None:
    body = "x" * 1500
    entries: dict[Any, Any] = {
        str(n): json.dumps([{"body": body}, "", f"queue{n % 1000}"]) for n in range(6000)
    }
    client.hset("unacked", mapping=entries)
    watches = [QueueWatch(f"queue{number}", f"queue{number}.dead") for number in range(1000)]

    async def scenario(broker: Any) -> float:
        await broker.depths(watches)
        began = time.perf_counter()
        found = await broker.depths(watches)
        spent = time.perf_counter() - began
        assert 5900 <= sum(item.unacknowledged for item in found.values()) <= 7000
        return spent

    # One look at each message for each queue would take minutes.
    assert on_broker(secret, scenario) < 10


def test_something_else_under_the_name_is_told_and_kept(
    secret: dict[str, str], client: "redis.Redis", on_broker: Any
) -> None:
    client.set("email", "kept")

    async def scenario(broker: Any) -> EnsureResult:
        found = await broker.depths([QueueWatch("email"), QueueWatch("good")])
        assert found["email"].reason == QueueReason.NOT_A_QUEUE
        assert found["good"].ready == 0
        return await broker.ensure(plan({}))  # type: ignore[no-any-return]

    found = on_broker(secret, scenario)
    assert found.foreign
    assert found.drift == (
        "key 'email' of queue email holds a string, not the list of a queue: remove it, or choose another"
        " queueName",
    )
    assert client.get("email") == "kept"
    assert client.keys("_kombu*") == []


def test_deletion_waits_for_every_message(
    secret: dict[str, str], client: "redis.Redis", on_broker: Any
) -> None:
    entry = json.dumps([{}, "", "email"])

    async def blocked(broker: Any) -> str | None:
        return (await broker.remove(plan({}), queue=True)).blocked  # type: ignore[no-any-return]

    on_broker(secret, lambda broker: broker.ensure(plan({})))
    client.lpush("email\x06\x163", "x")
    assert on_broker(secret, blocked) == "email has messages: 1 ready"
    client.delete("email\x06\x163")
    client.zadd("taskyard:schedule:email", {"later": time.time() + 500})
    assert on_broker(secret, blocked) == "email has messages: 1 scheduled"
    client.delete("taskyard:schedule:email")
    client.hset("unacked", "tag", entry)
    assert on_broker(secret, blocked) == "email has messages: 1 held by workers"
    client.delete("unacked")
    client.lpush("email.dead", "x", "y")
    assert on_broker(secret, blocked) == "email has messages: 2 dead"
    client.delete("email.dead")
    assert on_broker(secret, blocked) is None
    assert client.keys("*") == []


def test_purge_takes_all_of_this_queue_and_nothing_else(
    secret: dict[str, str], client: "redis.Redis", on_broker: Any
) -> None:
    on_broker(secret, lambda broker: broker.ensure(plan({})))
    on_broker(secret, lambda broker: broker.ensure(plan({}, "other")))
    for key in ("email", "email\x06\x169", "email.dead", "other", "emails"):
        client.lpush(key, "x")
    client.zadd("taskyard:schedule:email", {"later": 5})
    assert (
        on_broker(secret, lambda broker: broker.remove(plan({}), queue=True, if_empty=False)).blocked is None
    )
    assert set(client.keys("*")) == {
        "other",
        "emails",
        "_kombu.binding.other",
        "_kombu.binding_permanent.other",
    }


def test_the_key_prefix_of_kombu_is_heeded(
    secret: dict[str, str], client: "redis.Redis", on_broker: Any
) -> None:
    secret["key-prefix"] = "shop:"
    app = Celery("client", broker=secret["url"], set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": "shop:"}
    pools.reset()

    async def scenario(broker: Any) -> None:
        await broker.ensure(plan({}))
        before = set(client.keys("*"))
        app.send_task("send", queue="email", ignore_result=True)
        assert set(client.keys("*")) - before == {"shop:email"}
        assert (await depth(broker)).ready == 1

    on_broker(secret, scenario)
    app.close()


def test_wrong_passwords_and_addresses_say_what_to_mend(redis_server: RedisServer, on_broker: Any) -> None:
    port, (closed,) = redis_server.port, free_ports(1)
    cases = {
        f"redis://:hidden@127.0.0.1:{port}/0": (
            QueueReason.AUTHENTICATION_FAILED,
            'correct key "url" of Secret "taskyard-broker"',
        ),
        f"redis://127.0.0.1:{port}/0": (QueueReason.AUTHENTICATION_FAILED, 'correct key "url"'),
        f"redis://nobody:hidden@127.0.0.1:{port}/0": (QueueReason.AUTHENTICATION_FAILED, "of user 'nobody'"),
        f"redis://:hidden@127.0.0.1:{closed}/0": (
            QueueReason.UNREACHABLE,
            f"redis://127.0.0.1:{closed} cannot",
        ),
        f"redis://:secret%20word@127.0.0.1:{port}/99": (
            QueueReason.REQUEST_REFUSED,
            "DB index is out of range",
        ),
        f"redis://:hidden@127.0.0.1:{port}/shop": (QueueReason.INVALID_URL, "number of a Redis database"),
        f"rediss://:hidden@127.0.0.1:{port}/0": (QueueReason.UNREACHABLE, "cannot be reached"),
    }
    for url, (reason, words) in cases.items():
        with pytest.raises(BrokerError) as caught:
            on_broker({"url": url}, depth)
        assert caught.value.reason == reason, caught.value.message
        assert words in caught.value.message
        assert "hidden" not in caught.value.message


def test_a_user_without_the_commands_is_told_them(
    redis_server: RedisServer, client: "redis.Redis", on_broker: Any
) -> None:
    commands = ["+ping", "+select", "+client"]
    client.acl_setuser("worker", enabled=True, passwords=["+right"], keys=["*"], commands=commands)
    with pytest.raises(BrokerError) as caught:
        on_broker({"url": f"redis://worker:right@127.0.0.1:{redis_server.port}/0"}, depth)
    assert caught.value.reason == QueueReason.ACCESS_DENIED
    assert "user 'worker' a command" in caught.value.message


def test_the_next_address_is_tried_after_a_failure(redis_server: RedisServer, on_broker: Any) -> None:
    (closed,) = free_ports(1)
    url = f"redis://:x@127.0.0.1:{closed}/0;redis://:secret%20word@127.0.0.1:{redis_server.port}/0"

    async def scenario(broker: Any) -> None:
        with pytest.raises(BrokerError):
            await depth(broker)
        assert (await depth(broker)).ready == 0

    on_broker({"url": url}, scenario)


def take(connection: Connection, queue: Queue) -> Any:
    """Take a message and hold it."""
    message = queue.get(no_ack=False)
    assert message is not None
    # basic_get on the virtual transport holds what it takes as a consumer does.
    return message
