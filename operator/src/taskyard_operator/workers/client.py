"""Asks worker pods what they do, and tells them to drain or to resume (docs/reference/worker-http.md)."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Self

import aiohttp

from taskyard_operator.api.names import HTTP_PORT
from taskyard_operator.core.observation import worker_state
from taskyard_operator.core.state import WorkerState

STATE_TIMEOUT = 1.0
"""Seconds for `GET /state`, which a busy worker answers as fast as an idle one."""
DRAIN_TIMEOUT = 10.0
"""Seconds for `POST /drain`, whose answer waits for the broker."""
_LONGEST_ANSWER = 1 << 20


class WorkerError(Exception):
    """A worker did not do what it was asked."""


class WorkerUnreachableError(WorkerError):
    """Nothing answered at the pod's address, or not in time: nobody knows what the worker does."""


class WorkerRefusedError(WorkerError):
    """The worker answered, and refused: `status` is the HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the worker refused ({status}): {reason}")
        self.status = status


class WorkerClient:
    """One connection pool for all workers. Use as an async context manager, or call :meth:`close`."""

    def __init__(self, *, port: int = HTTP_PORT) -> None:
        self._port = port
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def state(self, address: str) -> WorkerState:
        """What the worker at a pod's address does now.

        Raises:
            WorkerUnreachableError: if it did not answer within a second.
            WorkerRefusedError: if something else than a worker's state came back.
        """
        return await self._call("GET", address, "/state", None, STATE_TIMEOUT)

    async def drain(self, address: str, token: str) -> WorkerState:
        """Make the worker stop consuming; its answer means that no further message will come.

        Raises:
            WorkerUnreachableError: if it did not answer; it may have stopped all the same.
            WorkerRefusedError: if it did not accept the token, or is ending (409).
        """
        return await self._call("POST", address, "/drain", token, DRAIN_TIMEOUT)

    async def resume(self, address: str, token: str) -> WorkerState:
        """Make the worker consume again. Raises as :meth:`drain` does."""
        return await self._call("POST", address, "/resume", token, DRAIN_TIMEOUT)

    async def _call(
        self, method: str, address: str, path: str, token: str | None, seconds: float
    ) -> WorkerState:
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{self._port}{path}"
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        limit = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._connections().request(
                method, url, headers=headers, timeout=limit, allow_redirects=False
            ) as response:
                text = (await response.content.read(_LONGEST_ANSWER)).decode(errors="replace")
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            words = "no answer in time" if isinstance(problem, TimeoutError) else str(problem)
            raise WorkerUnreachableError(f"worker at {address}: {words}") from problem
        if status != 200:
            raise WorkerRefusedError(status, _reason(text))
        try:
            return worker_state(json.loads(text))
        except ValueError as problem:
            raise WorkerRefusedError(status, "its answer is not a worker's state") from problem

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Made here, as a session belongs to the running loop. A proxy of the environment is not for pods.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=256, limit_per_host=2), trust_env=False
            )
        return self._session


def _reason(text: str) -> str:
    try:
        answer: Any = json.loads(text)
    except ValueError:
        return " ".join(text.split())[:200]
    if isinstance(answer, dict):
        return str(answer.get("reason") or answer.get("error") or answer.get("message") or answer)[:200]
    return str(answer)[:200]
