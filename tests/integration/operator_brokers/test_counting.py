"""Counts and the poller: exact, in time, and whatever one broker does the others go on."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import amqp
import pytest

from taskyard_operator.api.names import QueueReason
from taskyard_operator.brokers.base import QueueWatch
from taskyard_operator.brokers.poller import Poller, PollerSettings
from taskyard_operator.core.queue import QueueSample
from tests.brokers.ports import free_ports
from tests.brokers.rabbitmq import RabbitMQServer
from tests.brokers.redis import RedisServer
from tests.brokers.vhost import Vhost

QUICK = PollerSettings(interval=0.1, longest_backoff=0.5, secret_interval=1.0, limit=15.0)


class Secrets:
    """Secrets that the test holds."""

    def __init__(self) -> None:
        self.data: dict[str, dict[str, str]] = {}
        self.broken = False

    async def read(self, namespace: str, name: str) -> Mapping[str, str] | None:
        if self.broken:
            raise OSError("the API server is away")
        return self.data.get(name)


class Polls:
    """A poller and what it told."""

    def __init__(self, settings: PollerSettings = QUICK) -> None:
        self.secrets = Secrets()
        self.told: list[tuple[str, str]] = []
        self.poller = Poller(self.secrets, lambda *owner: self.told.append(owner), settings=settings)

    def watch(self, name: str, secret: str, queue: QueueWatch | None = None) -> None:
        self.poller.watch("shop", name, secret=secret, key="url", queue=queue or QueueWatch(name))

    async def until(self, name: str, true: Callable[[Any], Any], seconds: float = 60.0) -> QueueSample:
        deadline = time.monotonic() + seconds
        while True:
            sample = self.poller.sample("shop", name)
            if sample is not None and true(sample):
                return sample
            assert time.monotonic() < deadline, f"{name}: {sample}"
            await asyncio.sleep(0.02)


async def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def polling(scenario: Callable[[Polls], Any], settings: PollerSettings = QUICK) -> None:
    async def main() -> None:
        polls = Polls(settings)
        try:
            await scenario(polls)
        finally:
            await polls.poller.close()

    asyncio.run(main())


def ready(count: int) -> Callable[[QueueSample], bool]:
    return lambda sample: sample.failure is None and sample.depth is not None and sample.depth.ready == count


def later(at: float, sample: QueueSample) -> bool:
    return sample.at > at


def failed(reason: QueueReason) -> Callable[[QueueSample], bool]:
    return lambda sample: sample.failure is not None and sample.failure.reason == reason


@pytest.mark.rabbitmq
def test_rabbitmq_counts_are_exact_and_statistics_follow(vhost: Vhost, rabbitmq_url: dict[str, str]) -> None:
    async def scenario(polls: Polls) -> None:
        polls.secrets.data["broker"] = rabbitmq_url
        with vhost.connect() as connection:
            channel = connection.channel()
            for name in ("email", "email.dead"):
                channel.queue_declare(name, durable=True, auto_delete=False)
            polls.watch("email", "broker", QueueWatch("email", "email.dead"))
            await polls.until("email", ready(0))
            for number in range(1, 30):
                channel.basic_publish_confirm(
                    amqp.Message("x", timestamp=int(time.time())), routing_key="email"
                )
                await polls.until("email", ready(number))
            channel.basic_publish_confirm(amqp.Message("x"), routing_key="email.dead")
            await polls.until("email", lambda it: it.depth.dead == 1)
            channel.basic_qos(0, 5, False)
            channel.basic_consume("email", callback=lambda message: None)
            await polls.until("email", lambda it: ready(24)(it) and it.depth.consumers == 1)
            await polls.until("email", lambda it: it.depth.unacknowledged == 5)
            await polls.until(
                "email", lambda it: it.depth.publish_rate is not None and it.depth.oldest_age is not None
            )

    polling(scenario)


def connections(vhost: Vhost) -> int:
    return len([each for each in vhost.api("GET", "connections") or [] if each["vhost"] == vhost.name])


@pytest.mark.rabbitmq
def test_many_queues_of_a_broker_are_counted_in_one_go(vhost: Vhost, rabbitmq_url: dict[str, str]) -> None:
    names = [f"queue{number:03}" for number in range(450)]

    async def scenario(polls: Polls) -> None:
        polls.secrets.data["broker"] = rabbitmq_url
        with vhost.connect() as connection:
            channel = connection.channel()
            for name in names[::2]:
                channel.queue_declare(name, durable=True, auto_delete=False)
            for name in names:
                polls.watch(name, "broker")
            for name in names[::2]:
                await polls.until(name, ready(0))
            for name in names[1::2]:
                await polls.until(name, failed(QueueReason.QUEUE_NOT_FOUND))
            channel.basic_publish_confirm(amqp.Message("x"), routing_key=names[-2])
            await polls.until(names[-2], ready(1))
            await polls.until(names[0], lambda it: it.depth.unacknowledged == 0)
            # The test's and the poller's; what the management API shows of them is some seconds old.
            await until(lambda: 0 < connections(vhost) <= 2)

    polling(scenario)


@pytest.mark.rabbitmq
def test_a_broker_that_restarts_is_polled_again_and_counts_stay_known() -> None:
    server = RabbitMQServer(management=False)

    async def scenario(polls: Polls) -> None:
        polls.secrets.data["broker"] = {"url": server.url()}
        connection = amqp.Connection(f"127.0.0.1:{server.port}")
        connection.connect()
        channel = connection.channel()
        channel.queue_declare("email", durable=True, auto_delete=False)
        channel.basic_publish_confirm(amqp.Message("x", delivery_mode=2), routing_key="email")
        connection.close()
        polls.watch("email", "broker")
        before = await polls.until("email", ready(1))
        await asyncio.to_thread(server.stop)
        sample = await polls.until("email", failed(QueueReason.UNREACHABLE))
        sample = await polls.until("email", lambda it: it.failures >= 5)
        assert sample.depth == before.depth  # the last that was known, and said to be old
        polls.told.clear()
        await asyncio.to_thread(server.start)
        sample = await polls.until("email", ready(1))
        assert sample.failures == 0
        await until(lambda: ("shop", "email") in polls.told)

    with server:
        polling(scenario)


@pytest.mark.rabbitmq
@pytest.mark.redis
def test_brokers_that_hang_or_refuse_hold_up_nobody(
    vhost: Vhost, rabbitmq_url: dict[str, str], redis_server: RedisServer
) -> None:
    hanging = RedisServer()
    frozen, (closed,) = RabbitMQServer(management=False), free_ports(1)

    async def scenario(polls: Polls) -> None:
        polls.secrets.data |= {
            "good": {"url": redis_server.url.replace(" ", "%20")},
            "hanging": {"url": hanging.url},
            "frozen": {"url": frozen.url()},
            "closed": {"url": f"amqp://127.0.0.1:{closed}//"},
            "wrong": {"url": vhost.url.replace("guest:guest", "guest:hidden")},
            "odd": {"url": "sqs://key:hidden@"},
        }
        for name in ("good", "hanging", "closed", "wrong", "odd", "absent"):
            polls.watch(name, name)
        await polls.until("hanging", ready(0))
        os.kill(hanging.pid, signal.SIGSTOP)
        polls.watch("frozen", "frozen")
        await polls.until("frozen", failed(QueueReason.QUEUE_NOT_FOUND))
        frozen.signal(signal.SIGSTOP)
        began = time.monotonic()
        for name, reason in [
            ("closed", QueueReason.UNREACHABLE),
            ("wrong", QueueReason.AUTHENTICATION_FAILED),
            ("odd", QueueReason.NOT_SUPPORTED),
            ("absent", QueueReason.SECRET_NOT_FOUND),
        ]:
            sample = await polls.until(name, failed(reason))
            assert "hidden" not in str(sample)
        slowest = 0.0
        while time.monotonic() - began < 4:
            before = polls.poller.sample("shop", "good")
            assert before is not None
            asked = time.monotonic()
            await polls.until("good", partial(later, before.at))
            slowest = max(slowest, time.monotonic() - asked)
        assert slowest < QUICK.limit - 5
        sample = await polls.until("hanging", failed(QueueReason.UNREACHABLE))
        assert sample.depth is not None
        await polls.until("frozen", failed(QueueReason.UNREACHABLE))
        os.kill(hanging.pid, signal.SIGCONT)
        frozen.signal(signal.SIGCONT)
        await polls.until("hanging", ready(0))
        await polls.until("frozen", failed(QueueReason.QUEUE_NOT_FOUND))

    with hanging, frozen:
        try:
            polling(scenario)
        finally:
            os.kill(hanging.pid, signal.SIGCONT)
            frozen.signal(signal.SIGCONT)


@pytest.mark.redis
def test_a_changed_secret_is_taken_up_and_a_missing_one_told(redis_server: RedisServer) -> None:
    good = {"url": redis_server.url.replace(" ", "%20")}
    wrong = {"url": redis_server.url.replace("secret word", "hidden")}

    async def scenario(polls: Polls) -> None:
        polls.watch("email", "broker")
        await polls.until("email", failed(QueueReason.SECRET_NOT_FOUND))
        polls.secrets.data["broker"] = {"other": "x"}
        sample = await polls.until("email", failed(QueueReason.SECRET_KEY_NOT_FOUND))
        assert sample.failure is not None
        assert "keys: other" in sample.failure.message
        polls.secrets.data["broker"] = wrong
        await polls.until("email", failed(QueueReason.AUTHENTICATION_FAILED))
        polls.secrets.data["broker"] = good
        await polls.until("email", ready(0))
        # A Secret is read again although the connection works,
        polls.secrets.data["broker"] = wrong
        await polls.until("email", failed(QueueReason.AUTHENTICATION_FAILED))
        polls.secrets.data["broker"] = good
        await polls.until("email", ready(0))
        # and the API server's trouble is not the broker's.
        polls.secrets.broken = True
        at = time.time() + 2 * QUICK.secret_interval
        await polls.until("email", lambda it: it.at > at and it.failure is None)

    polling(scenario)


@pytest.mark.redis
def test_what_is_told_and_what_not(redis_server: RedisServer) -> None:
    import redis

    async def scenario(polls: Polls) -> None:
        polls.secrets.data["broker"] = {"url": redis_server.url.replace(" ", "%20")}
        client = redis.Redis(port=redis_server.port, password=redis_server.password)
        polls.watch("email", "broker", QueueWatch("email", "email.dead"))
        await polls.until("email", ready(0))
        polls.told.clear()
        await asyncio.sleep(0.5)
        assert polls.told == []  # nothing to do and nothing new
        client.lpush("email.dead", "x")
        await polls.until("email", lambda it: it.depth.dead == 1)
        await asyncio.sleep(0.3)
        assert len(polls.told) == 1
        client.lpush("email", "x")
        await polls.until("email", ready(1))
        await until(lambda: len(polls.told) >= 3)  # work waits: each poll is worth a look
        client.close()

    polling(scenario)
