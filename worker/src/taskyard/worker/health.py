"""The HTTP endpoint: probes, state, drain and resume, metrics; on a thread of its own, so it answers when
the loop hangs.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any, NamedTuple

from taskyard.errors import ImproperlyConfigured

logger = logging.getLogger("taskyard.worker")

#: Seconds without a turn after which the loop counts as dead.
LIVENESS_SECONDS = 10.0
#: Seconds to wait for the loop to carry out a command.
_COMMAND_SECONDS = 60.0


class Answer(NamedTuple):
    """Status and JSON body."""

    status: int
    body: dict[str, Any]


class Views(NamedTuple):
    """What the endpoint shows and does; all but `command` only read, in the endpoint's thread."""

    ticked_at: Callable[[], float]
    #: Why the worker is not ready, "" if it is.
    not_ready: Callable[[], str]
    state: Callable[[], dict[str, Any]]
    metrics: Callable[[], str]
    #: Ask the loop for "drain" or "resume" and call back with the answer, in the loop's thread.
    command: Callable[[str, Callable[[Answer], None]], None]


class HealthServer:
    """Listens on `address` ("host:port")."""

    def __init__(self, address: str, views: Views, token_file: str | None) -> None:
        host, port = split_address(address)
        #: Held while a request is worked on: the process is not forked meanwhile.
        self.guard = threading.RLock()
        handler = type(
            "Handler", (_Handler,), {"views": views, "token_file": token_file, "guard": self.guard}
        )
        try:
            self._server = ThreadingHTTPServer((host, port), handler)
        except OSError as error:
            raise ImproperlyConfigured(
                f"cannot listen on {address} (--http): {error.strerror or error}"
            ) from None
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port", ":port" or "port"."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ImproperlyConfigured(f"--http wants HOST:PORT, for example 0.0.0.0:9191, not {address!r}")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104  the operator asks from another pod


class _Handler(BaseHTTPRequestHandler):
    views: Views
    token_file: str | None
    guard: threading.RLock
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        with self.guard:
            if path == "/healthz":
                silent = monotonic() - self.views.ticked_at()
                healthy = silent < LIVENESS_SECONDS
                answer = Answer(200, {"status": "ok"})
                if not healthy:
                    answer = Answer(
                        503, {"status": "dead", "reason": f"the loop has not turned for {silent:.0f} s"}
                    )
            elif path == "/readyz":
                reason = self.views.not_ready()
                answer = (
                    Answer(503, {"ready": False, "reason": reason})
                    if reason
                    else Answer(200, {"ready": True})
                )
            elif path == "/state":
                answer = Answer(200, self.views.state())
            elif path == "/metrics":
                self._send(200, self.views.metrics().encode(), "text/plain; version=0.0.4; charset=utf-8")
                return
            else:
                answer = Answer(
                    404, {"error": "there are /healthz, /readyz, /state, /metrics, POST /drain and /resume"}
                )
            self._send_answer(answer)

    def do_POST(self) -> None:
        name = self.path.partition("?")[0].lstrip("/")
        length = self.headers.get("Content-Length", "0")
        if length.isdigit() and 0 < int(length) <= 1 << 20:
            self.rfile.read(int(length))
        if name not in ("drain", "resume"):
            self._send_answer(Answer(404, {"error": "there are POST /drain and POST /resume"}))
            return
        refusal = self._refusal()
        if refusal is not None:
            self._send_answer(refusal)
            return
        done = threading.Event()
        answers: list[Answer] = []

        def answered(answer: Answer) -> None:
            answers.append(answer)
            done.set()

        self.views.command(name, answered)
        if not done.wait(_COMMAND_SECONDS):
            answers.append(
                Answer(503, {"error": f"the worker's loop did not answer within {_COMMAND_SECONDS:.0f} s"})
            )
        self._send_answer(answers[0])

    def _refusal(self) -> Answer | None:
        """Why the caller may not command; None if it may."""
        import hmac

        if not self.token_file:
            return Answer(
                403, {"error": "POST is refused: set TASKYARD_TOKEN_FILE to a file that holds the token"}
            )
        try:
            with open(self.token_file) as file:
                token = file.read().strip()
        except OSError as error:
            return Answer(
                403, {"error": f"POST is refused: the token file cannot be read ({error.strerror})"}
            )
        if not token:
            return Answer(403, {"error": "POST is refused: the token file is empty"})
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return Answer(401, {"error": "wrong or missing token (Authorization: Bearer ...)"})
        return None

    def _send_answer(self, answer: Answer) -> None:
        self._send(answer.status, json.dumps(answer.body).encode() + b"\n", "application/json")

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug("http: " + format, *args)


def token_file() -> str | None:
    """The file that holds the token for POST requests."""
    return os.environ.get("TASKYARD_TOKEN_FILE") or None
