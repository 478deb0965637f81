"""SAQ as a project uses it; many tasks at once are a hundred calls in flight."""

import asyncio
from typing import Any

from saq import Queue

from benchmarks.given import ANSWER, BROKER, RESULTS
from benchmarks.in_flight import in_flight
from benchmarks.ticks import done, tick

queue = Queue.from_url(BROKER)
#: Without it a result is kept for 600 seconds.
KEEP = {} if RESULTS else {"ttl": -1}


async def work(ctx: dict[str, Any]) -> int | None:
    tick()
    return ANSWER


async def nap(ctx: dict[str, Any], *, index: int, seconds: float) -> None:
    await asyncio.sleep(seconds)
    done(index)


settings = {"queue": queue, "functions": [("work", work), ("nap", nap)]}


async def open_client() -> None:
    await queue.connect()


async def send() -> None:
    await queue.enqueue("work", **KEEP)


async def send_nap(index: int, seconds: float) -> None:
    await queue.enqueue("nap", index=index, seconds=seconds)


async def send_many(count: int) -> None:
    await in_flight(send, count)


async def ask() -> None:
    assert await queue.apply("work", timeout=30) == ANSWER
