"""Inspect: questions to the workers; each answer is {node: reply}, None if nobody answered."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

from taskyard.errors import DuplicateNodenameWarning


def flatten_reply(reply: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One dict of the replies of all nodes; warns when two nodes have the same name."""
    nodes: dict[str, Any] = {}
    twice = set()
    for each in reply:
        twice |= nodes.keys() & each.keys()
        nodes.update(each)
    if twice:
        names = "names" if len(twice) > 1 else "name"
        warnings.warn(
            DuplicateNodenameWarning(
                f"Received multiple replies from node {names}: {', '.join(sorted(twice))}. Give each worker "
                "a name of its own (-n)."
            ),
            stacklevel=2,
        )
    return nodes


class Inspect:
    """Questions to some workers or to all.

    `destination` names nodes (a list, or one name, whose bare reply is then returned), `pattern` and
    `matcher` ("glob" or "pcre") choose by name; `timeout` is in seconds, `limit` ends the waiting after so
    many replies, `callback` sees each reply as it comes.
    """

    app: Any = None

    def __init__(
        self,
        destination: Any = None,
        timeout: float = 1.0,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        connection: Any = None,
        app: Any = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        if app is not None:
            self.app = app
        self.destination = destination
        self.timeout = timeout
        self.callback = callback
        self.connection = connection
        self.limit = limit
        self.pattern = pattern
        self.matcher = matcher

    def _prepare(self, reply: list[dict[str, Any]] | None) -> Any:
        if not reply:
            return None
        nodes = flatten_reply(reply)
        if self.destination and not isinstance(self.destination, (list, tuple)):
            return nodes.get(self.destination)
        if self.pattern:
            from kombu.matcher import match

            return {node: each for node, each in nodes.items() if match(node, self.pattern, self.matcher)}
        return nodes

    def _request(self, command: str, **kwargs: Any) -> Any:
        destination = self.destination
        if isinstance(destination, str):
            destination = [destination]
        return self._prepare(
            self.app.control.broadcast(
                command,
                arguments=kwargs,
                destination=destination,
                callback=self.callback,
                connection=self.connection,
                limit=self.limit,
                timeout=self.timeout,
                reply=True,
                pattern=self.pattern,
                matcher=self.matcher,
            )
        )

    def report(self) -> Any:
        """{node: {"ok": text for a bug report}}."""
        return self._request("report")

    def clock(self) -> Any:
        """{node: {"clock": value of the logical clock}}."""
        return self._request("clock")

    def active(self, safe: bool | None = None) -> Any:
        """{node: [what runs now]}; `safe` shows arguments as text."""
        return self._request("active", safe=safe)

    def scheduled(self, safe: bool | None = None) -> Any:
        """{node: [what waits for its time]}."""
        return self._request("scheduled")

    def reserved(self, safe: bool | None = None) -> Any:
        """{node: [what was taken from the queue and has not begun]}."""
        return self._request("reserved")

    def stats(self) -> Any:
        """{node: figures of the worker}."""
        return self._request("stats")

    def revoked(self) -> Any:
        """{node: [ids of revoked tasks]}."""
        return self._request("revoked")

    def registered(self, *taskinfoitems: str) -> Any:
        """{node: [names of its tasks, with the attributes asked for]}."""
        return self._request("registered", taskinfoitems=taskinfoitems)

    registered_tasks = registered

    def ping(self, destination: Any = None) -> Any:
        """{node: {"ok": "pong"}}."""
        if destination:
            self.destination = destination
        return self._request("ping")

    def active_queues(self) -> Any:
        """{node: [queues it consumes]}."""
        return self._request("active_queues")

    def query_task(self, *ids: Any) -> Any:
        """{node: {id: [active, reserved, scheduled or ready, info]}}."""
        wanted: Any = ids[0] if len(ids) == 1 and isinstance(ids[0], (list, tuple)) else ids
        return self._request("query_task", ids=wanted)

    def conf(self, with_defaults: bool = False) -> Any:
        """{node: settings}, passwords hidden."""
        return self._request("conf", with_defaults=with_defaults)

    def hello(self, from_node: str, revoked: Any = None) -> Any:
        """What a worker tells another that starts: {node: {"revoked": [ids], "clock": value}}."""
        return self._request("hello", from_node=from_node, revoked=revoked)

    def memsample(self) -> Any:
        """{node: resident memory now}."""
        return self._request("memsample")

    def memdump(self, samples: int = 10) -> Any:
        """{node: the last memory samples}."""
        return self._request("memdump", samples=samples)

    def objgraph(self, type: str = "Request", n: int = 200, max_depth: int = 10) -> Any:
        """{node: {"filename": where a graph of objects was drawn}}."""
        return self._request("objgraph", num=n, max_depth=max_depth, type=type)
