"""taskiq as a project uses it; many tasks at once are a hundred calls in flight."""

import asyncio

from taskiq_aio_pika import AioPikaBroker
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.given import ANSWER, BROKER, RESULTS, VARIANT
from benchmarks.in_flight import in_flight
from benchmarks.ticks import done, tick

kinds = {"": RedisStreamBroker, "list": ListQueueBroker, "rabbitmq": AioPikaBroker}
broker = kinds[VARIANT](BROKER)
if RESULTS:
    broker = broker.with_result_backend(RedisAsyncResultBackend(RESULTS))


@broker.task
async def work() -> int | None:
    tick()
    return ANSWER


@broker.task
async def nap(index: int, seconds: float) -> None:
    await asyncio.sleep(seconds)
    done(index)


async def open_client() -> None:
    await broker.startup()


async def send() -> None:
    await work.kiq()


async def send_nap(index: int, seconds: float) -> None:
    await nap.kiq(index, seconds)


async def send_many(count: int) -> None:
    await in_flight(send, count)


async def ask() -> None:
    answer = await (await work.kiq()).wait_result(timeout=30)
    assert answer.return_value == ANSWER
