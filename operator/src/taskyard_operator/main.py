"""The command ``taskyard-operator``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any

from taskyard_operator import http_server, logs
from taskyard_operator.api import names
from taskyard_operator.kube.client import KubeClient
from taskyard_operator.kube.credentials import CredentialsError, CredentialSource
from taskyard_operator.kube.errors import Forbidden, KubeError, Unreachable
from taskyard_operator.kube.lease import Lease, LeaseLost
from taskyard_operator.kube.resources import TASK_QUEUES, WORKER_POOLS
from taskyard_operator.settings import PROG, Settings, UsageError, parse
from taskyard_operator.wiring import Operator, assemble

log = logging.getLogger("taskyard_operator")

_GRACE = 8.0
"""Seconds for the passes under way after SIGTERM. A pass may be cut short at any point: the next operator
picks up from the API server alone."""


class StartError(Exception):
    """The operator cannot start; the message is one line that says what to do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0 after SIGTERM, 1 on a failure, 2 on bad usage."""
    try:
        settings = parse(sys.argv[1:] if argv is None else argv, os.environ)
    except UsageError as problem:
        return _fail(problem, 2)
    logs.configure(format=settings.log_format, level=settings.log_level)
    try:
        return asyncio.run(run(settings))
    except (StartError, CredentialsError) as problem:
        return _fail(problem, 1)


async def run(settings: Settings) -> int:
    """Run the operator until a signal (0) or a failure (1). Raises :class:`StartError`."""
    stop = asyncio.Event()
    _on_signals(stop)
    source = CredentialSource(kubeconfig=settings.kubeconfig, context=settings.context)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(KubeClient(source))
        await _preflight(client, settings)
        operator = assemble(client, source, settings)
        stack.push_async_callback(operator.close)
        try:
            server = await http_server.start(operator.health, settings.http_host, settings.http_port)
        except OSError as problem:
            raise StartError(
                f"cannot serve on {settings.http_host}:{settings.http_port}: {problem.strerror or problem}; "
                "choose another address with --http"
            ) from None
        stack.push_async_callback(server.cleanup)
        if not settings.leader_election:
            return await _work(operator, stop)
        lease = await _lease(client, source, settings)
        operator.health.standby = True
        if not await _unless(stop, lease.acquire()):
            return 0
        operator.health.standby = False
        code = await _work(operator, stop, lease)
        await lease.release()
        return code


async def _work(operator: Operator, stop: asyncio.Event, lease: Lease | None = None) -> int:
    """Run all parts until the signal comes or one of them ends, which none should."""
    tasks = await operator.start()
    _on_signals(stop)  # kopf has put its own handlers in their place
    if lease is not None:
        tasks.add(asyncio.create_task(lease.hold(), name="the lease"))
    log.info("running; serving %s", operator.scope)
    stopping = asyncio.create_task(stop.wait(), name="signal")
    done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    ended = done - {stopping}
    grace = _GRACE
    for task in ended:
        problem = None if task.cancelled() else task.exception()
        if isinstance(problem, LeaseLost):
            log.error("stopping at once: %s", problem)
            grace = 0.0
        else:
            log.error("%s ended: %s", task.get_name(), problem or "nobody knows why", exc_info=problem)
    if not ended:
        log.info("stopping: finishing the passes under way")
    await operator.stop(tasks, grace=grace)
    log.info("stopped")
    return 1 if ended else 0


async def _preflight(client: KubeClient, settings: Settings) -> None:
    """Find out now, in one line, what would fail for ever later."""
    try:
        served = await client.served(names.GROUP, names.VERSION)
        missing = {TASK_QUEUES.plural, WORKER_POOLS.plural} - served
        if missing:
            raise StartError(
                f"the cluster does not know {' and '.join(sorted(missing))}.{names.GROUP}: install the "
                "CustomResourceDefinitions first (kubectl apply --server-side -f crds/)"
            )
        for resource in (TASK_QUEUES, WORKER_POOLS):
            for namespace in settings.namespaces or ("",):
                await client.versions(resource, namespace)
    except Forbidden as problem:
        remedy = (
            "mend the credentials in the kubeconfig or the service account"
            if problem.status == 401
            else "bind the operator's role (the chart has it), or name --namespaces it may serve"
        )
        raise StartError(f"the API server refuses: {problem}; {remedy}") from None
    except Unreachable as problem:
        raise StartError(f"{problem}; check the kubeconfig, its context, and the network") from None
    except KubeError as problem:
        raise StartError(f"the API server says: {problem}") from None


async def _lease(client: KubeClient, source: CredentialSource, settings: Settings) -> Lease:
    namespace = settings.lease_namespace or (await source.load()).namespace
    identity = f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}"
    return Lease(client, namespace, settings.lease_name, identity)


async def _unless(stop: asyncio.Event, waiting: Coroutine[Any, Any, None]) -> bool:
    """Whether ``waiting`` came to its end before the signal did."""
    stopping = asyncio.create_task(stop.wait())
    task = asyncio.create_task(waiting)
    await asyncio.wait({stopping, task}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not task.done():
        task.cancel()
        return False
    try:
        task.result()
    except KubeError as problem:
        raise StartError(f"cannot take the Lease: {problem}; grant the operator leases there") from None
    return True


def _on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


def _fail(problem: Exception, code: int) -> int:
    sys.stderr.write(f"{PROG}: {logs.redacted(' '.join(str(problem).split()))}\n")
    return code
