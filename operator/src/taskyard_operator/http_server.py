"""/healthz, /readyz and /metrics. They say nothing of a Secret and need no login."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from taskyard_operator import metrics
from taskyard_operator.health import Health

log = logging.getLogger(__name__)


async def start(health: Health, host: str, port: int) -> web.AppRunner:
    """Serve until the runner is cleaned up. Raises :class:`OSError` where the address is taken."""
    app = web.Application()
    app.router.add_get("/healthz", _probe(health.dead))
    app.router.add_get("/readyz", _probe(health.unready))
    app.router.add_get("/metrics", _metrics)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    log.info("serving on %s", ", ".join(f"http://{host}:{port}" for host, port, *_ in runner.addresses))
    return runner


def _probe(problems: Callable[[], list[str]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        reasons = problems()
        return web.Response(
            text="".join(f"{line}\n" for line in reasons or ["ok"]), status=503 if reasons else 200
        )

    return answer


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(
        text=metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    )
