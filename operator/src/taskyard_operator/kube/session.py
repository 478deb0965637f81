"""One HTTP session to the API server that follows its credentials as they rotate."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime

import aiohttp

from taskyard_operator.kube.credentials import Credentials, CredentialSource
from taskyard_operator.kube.resources import JSON

_CONNECT_TIMEOUT = 5.0
_CONNECTIONS = 32


class Session:
    """Sends requests; knows the server, the TLS side and the token, and nothing of Kubernetes objects."""

    def __init__(self, source: CredentialSource, *, request_timeout: float) -> None:
        self._source = source
        self._timeout = aiohttp.ClientTimeout(
            total=request_timeout, connect=request_timeout, sock_connect=_CONNECT_TIMEOUT
        )
        self._http: aiohttp.ClientSession | None = None
        self._credentials: Credentials | None = None
        self._renewing = asyncio.Lock()
        self._retired: set[aiohttp.ClientSession] = set()

    @property
    def server(self) -> str:
        """Where requests go, for messages."""
        return self._credentials.server if self._credentials else "the API server"

    async def close(self) -> None:
        """Close all connections."""
        sessions = [*self._retired, *([self._http] if self._http else [])]
        self._retired.clear()
        self._http = None
        for session in sessions:
            await session.close()

    async def renew(self) -> None:
        """Read the credentials again, because the server did not accept them."""
        refused = self._credentials
        async with self._renewing:
            if self._credentials is refused:
                await self._load()

    async def send(
        self,
        method: str,
        path: str,
        *,
        data: bytes | None,
        query: Mapping[str, str] | None,
        content_type: str,
        accept: str,
    ) -> tuple[int, float | None, JSON]:
        """Send one request once: the status, the seconds of ``Retry-After`` if any, and the JSON answer."""
        http, credentials = await self._ready()
        headers = {"Accept": accept, "Content-Type": content_type, **credentials.headers()}
        async with http.request(
            method,
            credentials.server + path,
            data=data,
            params=query,
            headers=headers,
            proxy=credentials.proxy,
            server_hostname=credentials.server_name,
        ) as response:
            content = await response.read()
            wait = response.headers.get("Retry-After", "")
            return response.status, float(wait) if wait.isdigit() else None, _json(content)

    async def _ready(self) -> tuple[aiohttp.ClientSession, Credentials]:
        if self._stale():
            async with self._renewing:
                if self._stale():
                    await self._load()
        assert self._http is not None
        assert self._credentials is not None
        return self._http, self._credentials

    def _stale(self) -> bool:
        if self._http is None or self._credentials is None:
            return True
        expires = self._credentials.expires
        return expires is not None and datetime.now(UTC) >= expires

    async def _load(self) -> None:
        fresh = await self._source.load()
        if self._http is None or self._credentials is None or not self._credentials.same_transport(fresh):
            if self._http is not None:
                # Requests under way end on the old connections; closed at the next change.
                for session in self._retired:
                    await session.close()
                self._retired = {self._http}
            tls: ssl.SSLContext | bool = True
            if fresh.server.startswith("https:"):
                tls = await asyncio.to_thread(fresh.ssl_context)
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls, limit=_CONNECTIONS),
                timeout=self._timeout,
            )
        self._credentials = fresh


def _json(content: bytes) -> JSON:
    """The answer as an object; a text (a proxy's error page) becomes its message."""
    try:
        answer = json.loads(content)
    except ValueError:
        return {"message": content[:200].decode(errors="replace")}
    return answer if isinstance(answer, dict) else {"message": str(answer)[:200]}
