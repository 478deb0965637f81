"""The worker's HTTP endpoint as the operator speaks to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from taskyard_operator.workers.client import WorkerClient, WorkerRefusedError, WorkerUnreachableError

STATE = {
    "state": "running",
    "consuming": True,
    "slots": 4,
    "busy": 2,
    "held": 3,
    "started": 9,
    "finished": 7,
    "failed": 1,
    "busySeconds": 12.5,
    "oldestTaskSeconds": None,
    "queues": ["q"],
    "uptimeSeconds": 60.0,
    "node": "pod",
    "brokerConnected": True,
}


@asynccontextmanager
async def serving(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[WorkerClient]:
    app = web.Application()
    app.router.add_route("*", "/{path}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with WorkerClient(port=port) as client:
            yield client
    finally:
        await runner.cleanup()


def run(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    call: Callable[[WorkerClient], Awaitable[Any]],
) -> Any:
    async def main() -> Any:
        async with serving(handler) as client:
            return await call(client)

    return asyncio.run(main())


def test_the_state_is_read() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert (request.method, request.path) == ("GET", "/state")
        assert "Authorization" not in request.headers
        return web.json_response(STATE)

    state = run(handler, lambda client: client.state("127.0.0.1"))
    assert (state.busy, state.held, state.slots, state.finished) == (2, 3, 4, 7)
    assert state.running
    assert not state.drained_of_work


@pytest.mark.parametrize("path", ["drain", "resume"])
def test_orders_carry_the_token(path: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        assert (request.method, request.path) == ("POST", f"/{path}")
        assert request.headers["Authorization"] == "Bearer geheim"
        return web.json_response({**STATE, "state": "drained", "consuming": False, "busy": 0, "held": 0})

    state = run(handler, lambda client: getattr(client, path)("127.0.0.1", "geheim"))
    assert state.drained_of_work


def test_a_refusal_says_why() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"reason": "it is stopping"}, status=409)

    with pytest.raises(WorkerRefusedError, match="it is stopping") as error:
        run(handler, lambda client: client.resume("127.0.0.1", "t"))
    assert error.value.status == 409


@pytest.mark.parametrize(
    "body", ["", "hello", "[]", "{}", '{"state": "running"}', '{"state": 1, "slots": null}']
)
def test_what_is_no_state_is_refused(body: str) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text=body)

    with pytest.raises(WorkerRefusedError):
        run(handler, lambda client: client.state("127.0.0.1"))


def test_silence_is_not_waited_for() -> None:
    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.json_response(STATE)

    with pytest.raises(WorkerUnreachableError, match="no answer in time"):
        run(handler, lambda client: client.state("127.0.0.1"))


def test_nobody_there() -> None:
    async def main() -> None:
        async with WorkerClient(port=1) as client:
            await client.state("127.0.0.1")

    with pytest.raises(WorkerUnreachableError):
        asyncio.run(main())
