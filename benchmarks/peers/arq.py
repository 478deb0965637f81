"""arq as a project uses it; many tasks at once are a hundred calls in flight."""

import asyncio
from typing import Any

from arq import create_pool, func
from arq.connections import ArqRedis, RedisSettings

from benchmarks.given import ANSWER, BROKER, RESULTS, VARIANT
from benchmarks.in_flight import in_flight
from benchmarks.ticks import done, tick

address = RedisSettings.from_dsn(BROKER)
#: By default each job writes two lines.
QUIET = {"version": 1, "disable_existing_loggers": False, "loggers": {"arq": {"level": "WARNING"}}}
pool: ArqRedis


async def work(ctx: dict[str, Any]) -> int | None:
    tick()
    return ANSWER


async def nap(ctx: dict[str, Any], index: int, seconds: float) -> None:
    await asyncio.sleep(seconds)
    done(index)


class Worker:
    """What the command line reads."""

    functions = (func(work, name="work", **({} if RESULTS else {"keep_result": 0})), func(nap, name="nap"))
    redis_settings = address
    if VARIANT == "tuned":
        max_jobs = 100
        poll_delay = 0.01


async def open_client() -> None:
    global pool
    pool = await create_pool(address)


async def send() -> None:
    await pool.enqueue_job("work")


async def send_nap(index: int, seconds: float) -> None:
    await pool.enqueue_job("nap", index, seconds)


async def send_many(count: int) -> None:
    await in_flight(send, count)


async def ask() -> None:
    job = await pool.enqueue_job("work")
    assert job is not None
    assert await job.result(timeout=30) == ANSWER
