"""The poller with brokers that do as the test says."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from taskyard_operator.api.names import QueueReason
from taskyard_operator.brokers.address import BrokerCredentials
from taskyard_operator.brokers.base import Broker, BrokerError, QueueWatch
from taskyard_operator.brokers.poller import Poller, PollerSettings
from taskyard_operator.core.queue import BrokerFailure, QueueDepth
from taskyard_operator.core.queue_plan import BrokerFamily

FAST = PollerSettings(interval=0.01, longest_backoff=0.05, secret_interval=0.2, limit=0.5)


class FakeBroker:
    """Answers with `answer`, raises it, or awaits it."""

    family = BrokerFamily.REDIS

    def __init__(self, credentials: BrokerCredentials) -> None:
        self.identity = credentials.url
        self.answer: Any = QueueDepth(0)
        self.asked: list[list[QueueWatch]] = []
        self.closed = False

    async def depths(self, queues: Sequence[QueueWatch]) -> Mapping[str, QueueDepth | BrokerFailure]:
        self.asked.append(list(queues))
        answer = self.answer
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            await answer()
            answer = QueueDepth(0)
        return {watch.queue: answer for watch in queues}

    async def close(self) -> None:
        self.closed = True


class Fixture:
    def __init__(self, settings: PollerSettings = FAST) -> None:
        self.brokers: list[FakeBroker] = []
        self.secrets: dict[str, dict[str, str]] = {"broker": {"url": "fake://1"}}
        self.told: list[str] = []
        self.poller = Poller(
            self, lambda namespace, name: self.told.append(name), settings=settings, connect=self.connect
        )

    async def read(self, namespace: str, name: str) -> Mapping[str, str] | None:
        return self.secrets.get(name)

    def connect(self, credentials: BrokerCredentials) -> Broker:
        self.brokers.append(FakeBroker(credentials))
        return self.brokers[-1]  # type: ignore[return-value]

    def watch(self, name: str, secret: str = "broker", queue: str = "") -> None:
        self.poller.watch("shop", name, secret=secret, key="url", queue=QueueWatch(queue or name))

    async def until(self, true: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 60
        while not true():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)

    def sample(self, name: str = "email") -> Any:
        return self.poller.sample("shop", name)


def polling(scenario: Callable[[Fixture], Any], settings: PollerSettings = FAST) -> None:
    async def main() -> None:
        fixture = Fixture(settings)
        try:
            await scenario(fixture)
        finally:
            async with asyncio.timeout(60):
                await fixture.poller.close()
        assert all(broker.closed for broker in fixture.brokers)

    asyncio.run(main())


def test_task_queues_of_a_secret_share_a_connection_and_a_request() -> None:
    async def scenario(it: Fixture) -> None:
        for name in ("a", "b", "c"):
            it.watch(name)
        it.watch("twin", queue="a")
        await it.until(lambda: it.sample("c") and it.sample("twin"))
        (broker,) = it.brokers
        assert [watch.queue for watch in broker.asked[-1]] == ["a", "b", "c"]
        assert it.poller.broker_key("shop", "a") == it.poller.broker_key("shop", "b") == "shop/broker/url"
        shared: object = await it.poller.broker("shop", "broker", "url")
        assert shared is broker
        it.watch("other", "second")
        assert it.poller.broker_key("shop", "other") == "shop/second/url"
        assert it.poller.broker_key("shop", "unknown") is None

    polling(scenario)


def test_the_last_depth_stays_while_the_failures_are_counted() -> None:
    async def scenario(it: Fixture) -> None:
        it.watch("email")
        await it.until(it.sample)
        good = it.sample()
        it.brokers[0].answer = BrokerError("Unreachable", "away")
        await it.until(lambda: it.sample().failures >= 4)
        assert it.sample().depth == good.depth
        assert it.sample().failure == BrokerFailure("Unreachable", "away")
        at = it.sample().at
        it.told.clear()
        failures = it.sample().failures
        await it.until(lambda: it.sample().failures > failures)
        assert it.told  # each failed attempt is told: a fallback waits for a number of them
        assert it.sample().at == at
        it.brokers[0].answer = QueueDepth(1)
        await it.until(lambda: it.sample().failure is None)
        assert it.sample().failures == 0

    polling(scenario)


def test_failures_back_off() -> None:
    async def scenario(it: Fixture) -> None:
        it.watch("email")
        await it.until(it.sample)
        it.brokers[0].answer = BrokerError("Unreachable", "away")
        await it.until(lambda: it.sample().failures >= 5)
        before, began = len(it.brokers[0].asked), time.monotonic()
        await it.until(lambda: len(it.brokers[0].asked) >= before + 10)
        assert time.monotonic() - began > 0.3  # every 0.05 s at most, not every 0.01 s

    polling(scenario)


def test_a_broker_that_hangs_is_a_failure_and_the_loop_goes_on() -> None:
    async def scenario(it: Fixture) -> None:
        it.watch("email")
        it.watch("other", "second")
        it.secrets["second"] = {"url": "fake://2"}
        await it.until(lambda: it.sample() and it.sample("other"))
        hanging = next(broker for broker in it.brokers if broker.identity == "fake://1")
        hanging.answer = lambda: asyncio.sleep(60)
        before = it.sample("other").at
        await it.until(lambda: it.sample().failure is not None)
        assert it.sample().failure.reason == QueueReason.UNREACHABLE
        assert it.sample("other").at > before
        hanging.answer = ZeroDivisionError("a bug")
        await it.until(lambda: it.sample().failure.reason == QueueReason.POLL_FAILED)
        hanging.answer = QueueDepth(2)
        await it.until(lambda: it.sample().depth == QueueDepth(2))

    polling(scenario)


def test_closing_ends_although_a_library_loses_the_cancellation() -> None:
    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    async def scenario(it: Fixture) -> None:
        it.watch("email")
        await it.until(it.sample)
        it.brokers[0].answer = deaf
        asked = len(it.brokers[0].asked)
        await it.until(lambda: len(it.brokers[0].asked) > asked)

    polling(scenario, PollerSettings(interval=0.01, limit=60))


def test_a_new_secret_is_a_new_connection() -> None:
    async def scenario(it: Fixture) -> None:
        it.watch("email")
        await it.until(it.sample)
        it.secrets["broker"] = {"url": "fake://new"}
        await it.until(lambda: len(it.brokers) == 2)
        assert it.brokers[0].closed
        assert it.brokers[1].identity == "fake://new"

    polling(scenario)


def test_a_forgotten_queue_is_asked_for_no_more_and_the_connection_closes() -> None:
    async def scenario(it: Fixture) -> None:
        it.watch("a")
        it.watch("b")
        await it.until(lambda: it.sample("a") and it.sample("b"))
        it.poller.forget("shop", "a")
        assert it.sample("a") is None
        (broker,) = it.brokers
        await it.until(lambda: [watch.queue for watch in broker.asked[-1]] == ["b"])
        it.poller.forget("shop", "b")
        await it.until(lambda: broker.closed)
        it.watch("c")
        await it.until(lambda: it.sample("c"))

    polling(scenario)


def test_a_task_queue_that_moves_to_another_broker_or_queue_starts_anew() -> None:
    async def scenario(it: Fixture) -> None:
        it.watch("email")
        await it.until(it.sample)
        it.brokers[0].answer = QueueDepth(7)
        await it.until(lambda: it.sample().depth == QueueDepth(7))
        it.watch("email")
        assert it.sample().depth == QueueDepth(7)  # the same again changes nothing
        it.watch("email", queue="mail")
        assert it.sample() is None
        it.secrets["second"] = {"url": "fake://2"}
        await it.until(it.sample)
        it.watch("email", "second")
        assert it.sample() is None
        await it.until(it.sample)
        assert it.sample().depth == QueueDepth(0)

    polling(scenario)
