"""Many calls of an asynchronous client that cannot send many tasks at once."""

import asyncio
from collections.abc import Awaitable, Callable


async def in_flight(call: Callable[[], Awaitable[object]], count: int, at_once: int = 100) -> None:
    """Call it `count` times, `at_once` at a time."""
    for begin in range(0, count, at_once):
        await asyncio.gather(*(call() for _ in range(min(at_once, count - begin))))
