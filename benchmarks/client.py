"""The client that is measured; runs in the peer's own environment and prints what it took as JSON.

``python -m benchmarks.client PEER send COUNT`` sends tasks one at a time, ``many COUNT`` with the peer's way
to do so, ``nap COUNT SECONDS`` numbered tasks that sleep, ``ask COUNT SECONDS`` sends a task and waits for
its result, one after the other, for at most so many seconds.
"""

import asyncio
import inspect
import json
import sys
from collections.abc import Awaitable, Callable, Iterable
from importlib import import_module
from time import perf_counter, process_time
from types import ModuleType
from typing import Any

#: Sent before the clock starts: connections are open then, and declarations made.
WARM_UP = 10


def run(peer: ModuleType, order: str, arguments: list[float]) -> dict[str, Any]:
    """Do what is ordered."""
    count = int(arguments[0])
    if order == "send":
        _call(peer, "send", [()] * WARM_UP)
        return _timed(lambda: _call(peer, "send", [()] * count))
    if order == "many":
        _call(peer, "send", [()] * WARM_UP)
        return _timed(lambda: _call(peer, "send_many", [(count,)]))
    if order == "nap":
        return _timed(lambda: _call(peer, "send_nap", [(index, arguments[1]) for index in range(count)]))
    if order == "ask":
        _call(peer, "ask", [()] * 2)
        trips: list[float] = []
        _call(peer, "ask", _until(arguments[1], count), trips)
        return {"trips": trips}
    raise SystemExit(f"no such order: {order}")


def _timed(body: Callable[[], None]) -> dict[str, Any]:
    cpu, wall = process_time(), perf_counter()
    body()
    return {"seconds": perf_counter() - wall, "cpu": process_time() - cpu}


def _until(seconds: float, count: int) -> Iterable[tuple[()]]:
    end = perf_counter() + seconds
    for _ in range(count):
        if perf_counter() > end:
            return
        yield ()


_loop = asyncio.Runner()
_opened = False


def _call(peer: ModuleType, name: str, calls: Iterable[Any], times: list[float] | None = None) -> None:
    """Make the calls one after the other."""
    function = getattr(peer, name)
    if inspect.iscoroutinefunction(function):
        _loop.run(_call_async(peer, function, calls, times))
        return
    for arguments in calls:
        began = perf_counter()
        function(*arguments)
        if times is not None:
            times.append(perf_counter() - began)


async def _call_async(
    peer: ModuleType,
    function: Callable[..., Awaitable[None]],
    calls: Iterable[Any],
    times: list[float] | None,
) -> None:
    global _opened
    if not _opened:
        await peer.open_client()
        _opened = True
    for arguments in calls:
        began = perf_counter()
        await function(*arguments)
        if times is not None:
            times.append(perf_counter() - began)


if __name__ == "__main__":
    name, order, *numbers = sys.argv[1:]
    module = import_module(f"benchmarks.peers.{name}")
    print(json.dumps(run(module, order, [float(number) for number in numbers])))
