"""What `helm test` runs, against a server that plays the API server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from taskyard_operator.chart_test import Api, ChartTestFailedError, main, run

JSON = dict[str, Any]


class Server(ThreadingHTTPServer):
    """Keeps one TaskQueue and gives it the status that a test wants, from the second look on."""

    status: JSON
    refuse: int = 0
    keeps: bool = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, JSON] = {}
        self.calls: list[str] = []
        self.status = {}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.calls.append(f"POST {self.path}")
        if self.server.refuse:
            self.answer(self.server.refuse, {"message": "the words of the API server"})
            return
        self.server.objects[body["metadata"]["name"]] = body
        self.answer(201, body)

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[1]
        found = self.server.objects.get(name)
        self.answer(200, found | {"status": self.server.status}) if found else self.answer(
            404, {"message": "gone"}
        )

    def do_DELETE(self) -> None:
        self.server.calls.append("DELETE")
        if not self.server.keeps:
            del self.server.objects[self.path.rsplit("/", 1)[1]]
        self.answer(200, {})

    def answer(self, code: int, body: JSON) -> None:
        assert self.headers["Authorization"] == "Bearer token"
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def api(server: Server) -> Api:
    return Api(f"http://127.0.0.1:{server.server_port}", "token", None, "shop")


def ready(status: str, reason: str) -> JSON:
    return {"conditions": [{"type": "Ready", "status": status, "reason": reason, "message": "words"}]}


def test_a_queue_that_becomes_ready(api: Api, server: Server) -> None:
    server.status = ready("True", "Synced")
    assert "Ready=True Synced" in run(api, ready=True, timeout=60)
    assert server.calls == ["POST /apis/taskyard.io/v1alpha1/namespaces/shop/taskqueues", "DELETE"]
    assert server.objects == {}


def test_without_a_broker_it_is_enough_that_the_operator_says_so(api: Api, server: Server) -> None:
    server.status = ready("False", "SecretNotFound")
    assert "SecretNotFound" in run(api, ready=False, timeout=60)


def test_with_a_broker_it_is_not(api: Api, server: Server) -> None:
    server.status = ready("False", "DeclareFailed")
    with pytest.raises(ChartTestFailedError, match="did not become Ready: Ready=False DeclareFailed words"):
        run(api, ready=True, timeout=5)
    assert server.calls[-1] == "DELETE", "nothing is left behind"


def test_an_operator_that_does_nothing(api: Api) -> None:
    with pytest.raises(ChartTestFailedError, match="is its pod running"):
        run(api, ready=False, timeout=1)


def test_a_queue_that_stays(api: Api, server: Server) -> None:
    server.status, server.keeps = ready("True", "Synced"), True
    with pytest.raises(ChartTestFailedError, match="was not deleted"):
        run(api, ready=True, timeout=5)


def test_a_refusal_is_told_in_the_api_servers_words(api: Api, server: Server) -> None:
    server.refuse = 403
    with pytest.raises(ChartTestFailedError, match="403 the words of the API server"):
        run(api, ready=True, timeout=1)


def test_no_api_server() -> None:
    with pytest.raises(ChartTestFailedError, match="no answer from the API server"):
        run(Api("http://127.0.0.1:1", "token", None, "shop"), ready=True, timeout=1)


def test_outside_a_pod_it_says_so_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--namespace", "shop"]) == 1
    assert capsys.readouterr().err.startswith("this runs in a pod with a ServiceAccount only")
