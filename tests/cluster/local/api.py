"""As much of a client for the API server as bringing a cluster up needs."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from tests.cluster.errors import ClusterError
from tests.cluster.local.certificates import Authority
from tests.cluster.local.components import API_PORT


class ApiError(ClusterError):
    """The API server does not answer, or answers with an error. ``status`` is HTTP's, 0 without an answer."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Api:
    """The API server of a cluster, asked as its administrator."""

    address: IPv4Address
    authority: Authority
    timeout: float = 5
    _context: ssl.SSLContext = field(init=False, repr=False)

    def __post_init__(self) -> None:
        context = ssl.create_default_context(cafile=str(self.authority.certificate("ca")))
        context.load_cert_chain(self.authority.certificate("admin"), self.authority.key("admin"))
        object.__setattr__(self, "_context", context)

    def get(self, path: str) -> Any:
        """Return an object. Raises ApiError."""
        return self._ask("GET", path, None)

    def apply(self, path: str, manifest: dict[str, Any]) -> None:
        """Create or replace an object by server-side apply; ``path`` ends with its name. Raises ApiError."""
        self._ask("PATCH", f"{path}?fieldManager=taskyard-test-cluster&force=true", manifest)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        connection = http.client.HTTPSConnection(
            str(self.address), API_PORT, timeout=self.timeout, context=self._context
        )
        headers = {"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(
                0, f"the API server at {self.address}:{API_PORT} does not answer: {error}"
            ) from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise ApiError(
                answer.status, f"{method} {path}: {answer.status} {data[:300].decode(errors='replace')}"
            )
        return json.loads(data) if data.startswith((b"{", b"[")) else data.decode()
