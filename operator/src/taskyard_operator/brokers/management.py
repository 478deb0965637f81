"""RabbitMQ's management API: what AMQP cannot tell (unacknowledged messages, rates) or do (policies).

Its numbers are those of the last statistics interval, five seconds by default. Paths and fields:
https://www.rabbitmq.com/docs/http-api-reference.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import aiohttp
from yarl import URL

from taskyard_operator.brokers.address import BrokerAddress, BrokerCredentials, tls_context
from taskyard_operator.core.queue_plan import Arguments

_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=3)
_COLUMNS = (
    "name,messages_unacknowledged,head_message_timestamp,"
    "message_stats.publish_details.rate,message_stats.deliver_get_details.rate"
)
_LONGEST_FILTER = 3_000
"""Characters of queue names in one request's URL."""

_PORTS = {"amqp": ("http", 15672), "pyamqp": ("http", 15672), "amqps": ("https", 15671)}


class ManagementError(Exception):
    """The management API cannot be used; the message says why and what helps, without secrets.

    `status` is the HTTP status, 0 without an answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """Numbers of one queue; rates per second, `oldest_age` in seconds where publishers set timestamps."""

    unacknowledged: int | None
    publish_rate: float | None
    deliver_rate: float | None
    oldest_age: float | None


@dataclass(frozen=True, slots=True)
class BrokerPolicy:
    """A policy or operator policy as the broker lists it."""

    name: str
    pattern: str
    apply_to: str
    priority: int
    definition: Arguments

    def applies_to(self, queue: str, queue_type: str) -> bool:
        """Whether it matches a queue of that type (classic, quorum)."""
        if self.apply_to not in ("all", "queues", f"{queue_type}_queues"):
            return False
        try:
            return re.search(self.pattern, queue) is not None
        except re.error:
            return False  # Erlang's regular expressions know a little more than Python's


class Management:
    """One management API and virtual host; every call may raise :class:`ManagementError`."""

    def __init__(self, credentials: BrokerCredentials, address: BrokerAddress) -> None:
        scheme, port = _PORTS[address.scheme]
        user, password = address.user or "guest", address.password
        base = f"{scheme}://{address.host or 'localhost'}:{port}"
        if credentials.management_url:
            parts = urlsplit(credentials.management_url)
            base = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
            if parts.username:
                user, password = unquote(parts.username), unquote(parts.password or "")
        self._base = base
        self._user = user
        pair = f"{user}:{password if password is not None else 'guest'}"
        self._headers = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        tls = base.startswith("https:")
        self._tls = tls_context(address, credentials.ca) if tls else True
        self._vhost = quote(address.path or "/", safe="")
        self._session: aiohttp.ClientSession | None = None
        self._version: tuple[int, ...] | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def version(self) -> tuple[int, ...]:
        """The broker's version when it was first asked, such as (3, 13, 7)."""
        if self._version is None:
            overview = await self._call("GET", "overview")
            text = overview.get("rabbitmq_version", "0")
            self._version = tuple(int(part) for part in re.findall(r"\d+", text)[:3])
        return self._version

    async def statistics(self, names: Sequence[str]) -> dict[str, QueueStatistics]:
        """Numbers of the queues, in as few requests as the length of a URL allows."""
        found: dict[str, QueueStatistics] = {}
        for some in _chunks(names):
            pattern = quote(f"^({'|'.join(re.escape(name) for name in some)})$", safe="")
            page = await self._call(
                "GET",
                f"queues/{self._vhost}?use_regex=true&name={pattern}&page=1&page_size=500&columns={_COLUMNS}",
            )
            items = page.get("items", []) if isinstance(page, dict) else page
            found |= {item["name"]: _statistics(item) for item in items}
        return found

    async def queue(self, name: str) -> dict[str, Any] | None:
        """One queue with its arguments, or None if it does not exist."""
        return await self._get(f"queues/{self._vhost}/{quote(name, safe='')}")

    async def policies(self) -> list[BrokerPolicy]:
        """All policies of the virtual host."""
        return [_policy(item) for item in await self._call("GET", f"policies/{self._vhost}")]

    async def operator_policies(self) -> list[BrokerPolicy]:
        """All operator policies of the virtual host, which the broker lays over the others."""
        return [_policy(item) for item in await self._call("GET", f"operator-policies/{self._vhost}")]

    async def put_policy(self, policy: BrokerPolicy) -> None:
        """Make or change a policy."""
        body = {
            "pattern": policy.pattern,
            "apply-to": policy.apply_to,
            "priority": policy.priority,
            "definition": dict(policy.definition),
        }
        await self._call("PUT", f"policies/{self._vhost}/{quote(policy.name, safe='')}", body)

    async def delete_policy(self, name: str) -> None:
        """Delete a policy; nothing happens if there is none."""
        try:
            await self._call("DELETE", f"policies/{self._vhost}/{quote(name, safe='')}")
        except ManagementError as problem:
            if problem.status != 404:
                raise

    async def _get(self, path: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._call("GET", path)
        except ManagementError as problem:
            if problem.status == 404:
                return None
            raise
        return found

    async def _call(self, method: str, path: str, body: object = None) -> Any:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls, limit=2)
            self._session = aiohttp.ClientSession(
                connector=connector, headers=self._headers, timeout=_TIMEOUT
            )
        # encoded=True keeps %2F, the name of the default virtual host.
        url = URL(f"{self._base}/api/{path}", encoded=True)
        try:
            async with self._session.request(method, url, json=body) as answer:
                text = await answer.text()
                status = answer.status
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as problem:
            raise ManagementError(0, self._unreachable(problem)) from problem
        if status in (401, 403):
            raise ManagementError(status, self._refused(_reason(text)))
        if status >= 400:
            raise ManagementError(status, f"the management API answered {status}: {_reason(text)}")
        try:
            return json.loads(text) if text else None
        except ValueError as problem:
            raise ManagementError(status, f"{self._base} is not RabbitMQ's management API") from problem

    def _unreachable(self, problem: BaseException) -> str:
        text = getattr(problem, "strerror", None) or type(problem).__name__
        return f"the management API at {self._base} cannot be reached ({text})"

    def _refused(self, text: str) -> str:
        return f"the management API refuses user {self._user!r} ({text})"


def _chunks(names: Sequence[str]) -> list[list[str]]:
    chunks: list[list[str]] = []
    length = _LONGEST_FILTER
    for name in names:
        size = len(quote(re.escape(name), safe="")) + 3
        if length + size > _LONGEST_FILTER or len(chunks[-1]) >= 400:
            chunks.append([])
            length = 0
        chunks[-1].append(name)
        length += size
    return chunks


def _statistics(item: dict[str, Any]) -> QueueStatistics:
    rates = item.get("message_stats") or {}
    stamp = item.get("head_message_timestamp")
    return QueueStatistics(
        unacknowledged=item.get("messages_unacknowledged"),
        publish_rate=_rate(rates, "publish_details"),
        deliver_rate=_rate(rates, "deliver_get_details"),
        oldest_age=max(0.0, time.time() - stamp) if isinstance(stamp, int | float) else None,
    )


def _rate(rates: dict[str, Any], name: str) -> float | None:
    value = (rates.get(name) or {}).get("rate")
    return float(value) if isinstance(value, int | float) else None


def _policy(item: dict[str, Any]) -> BrokerPolicy:
    return BrokerPolicy(
        item["name"], item["pattern"], item["apply-to"], item["priority"], item.get("definition") or {}
    )


def _reason(text: str) -> str:
    try:
        body = json.loads(text)
    except ValueError:
        return " ".join(text.split())[:200]
    reason = body.get("reason") or body.get("error") if isinstance(body, dict) else body
    return " ".join(str(reason).split())[:500]
