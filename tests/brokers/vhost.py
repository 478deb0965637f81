"""A virtual host of a test's own on a shared RabbitMQ server, made through the management API."""

import base64
import itertools
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import amqp

from tests.brokers.rabbitmq import RabbitMQServer

_NUMBERS = itertools.count()


class Vhost:
    """A fresh virtual host; `delete` takes it away with its queues, policies and connections."""

    def __init__(self, server: RabbitMQServer) -> None:
        self.server = server
        self.name = f"test-{os.getpid()}-{next(_NUMBERS)}"
        self.api("PUT", f"vhosts/{self.name}")
        self.grant("guest")

    @property
    def url(self) -> str:
        """The broker URL."""
        return self.server.url(self.name)

    def delete(self) -> None:
        """Delete the virtual host."""
        self.api("DELETE", f"vhosts/{self.name}")

    def api(self, method: str, path: str, body: object = None) -> Any:
        """One call of the management API; None for an empty answer or 404."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.server.management_port}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": "Basic " + base64.b64encode(b"guest:guest").decode(),
                "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                text = answer.read()
        except urllib.error.HTTPError as problem:
            if problem.code == 404:
                return None
            raise RuntimeError(f"{method} {path}: {problem.read().decode()}") from None
        return json.loads(text) if text else None

    def user(self, name: str, password: str, tags: str = "") -> None:
        """A user without any permission."""
        self.api("PUT", f"users/{name}", {"password": password, "tags": tags})

    def grant(self, user: str, configure: str = ".*", write: str = ".*", read: str = ".*") -> None:
        """Permissions in the virtual host."""
        body = {"configure": configure, "write": write, "read": read}
        self.api("PUT", f"permissions/{self.name}/{user}", body)

    def policy(
        self,
        name: str,
        pattern: str,
        definition: Mapping[str, Any],
        priority: int = 0,
        kind: str = "policies",
    ) -> None:
        """A policy (or with kind `operator-policies` one of those)."""
        body = {"pattern": pattern, "definition": definition, "priority": priority, "apply-to": "queues"}
        self.api("PUT", f"{kind}/{self.name}/{name}", body)

    def policies(self) -> dict[str, dict[str, Any]]:
        """All policies by name."""
        return {item["name"]: item for item in self.api("GET", f"policies/{self.name}")}

    def queue(self, name: str) -> dict[str, Any] | None:
        """A queue as the management API shows it."""
        found: dict[str, Any] | None = self.api("GET", f"queues/{self.name}/{quote(name, safe='')}")
        return found

    def connect(self) -> Any:
        """An AMQP connection."""
        connection = amqp.Connection(f"127.0.0.1:{self.server.port}", virtual_host=self.name)
        connection.connect()
        return connection
