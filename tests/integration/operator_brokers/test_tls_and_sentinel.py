"""Connections by TLS and by Redis Sentinel."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskyard_operator.api.names import QueueReason
from taskyard_operator.api.taskqueue import TaskQueueSpec
from taskyard_operator.brokers.base import BrokerError, QueueWatch
from taskyard_operator.core.queue_plan import BrokerFamily, plan_queue
from tests.brokers.ports import free_ports, listening
from tests.brokers.rabbitmq import RabbitMQServer
from tests.brokers.redis import RedisServer

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="makes certificates with openssl")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a self-signed `cert.pem` for 127.0.0.1 and its `key.pem`."""
    directory = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    )
    extension = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *extension], cwd=directory, check=True, capture_output=True)
    (directory / "key.pem").chmod(0o644)
    return directory


async def ready(broker: Any) -> int:
    found = (await broker.depths([QueueWatch("email")]))["email"]
    return int(found.ready)


def refused(on_broker: Any, secret: dict[str, str]) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        on_broker(secret, ready)
    return caught.value


@needs_openssl
@pytest.mark.rabbitmq
def test_rabbitmq_by_tls_with_its_management_api(certificate: Path, on_broker: Any, eventually: Any) -> None:
    port, web = free_ports(2)
    files = [("certfile", "cert.pem"), ("keyfile", "key.pem")]
    config = (
        f"listeners.ssl.1 = 127.0.0.1:{port}\nmanagement.ssl.port = {web}\nmanagement.ssl.ip = 127.0.0.1\n"
    )
    for name, file in files:
        config += f"ssl_options.{name} = {certificate / file}\nmanagement.ssl.{name} = {certificate / file}\n"
    ca = (certificate / "cert.pem").read_text()
    secret = {
        "url": f"amqps://guest:guest@127.0.0.1:{port}//",
        "management-url": f"https://guest:guest@127.0.0.1:{web}",
    }

    async def scenario(broker: Any) -> None:
        spec = TaskQueueSpec.model_validate({"messageTTL": "1h"})
        found = await broker.ensure(plan_queue(spec, "email", BrokerFamily.RABBITMQ))
        assert (found.created, found.limits) == (True, ())
        assert await ready(broker) == 0

        async def counted() -> bool:
            found = await broker.depths([QueueWatch("email")])
            return found["email"].unacknowledged is not None

        await eventually(counted)

    with RabbitMQServer(config=config):
        on_broker(secret | {"ca.crt": ca}, scenario)
        problem = refused(on_broker, secret)
        assert problem.reason == QueueReason.INVALID_CERTIFICATE
        assert "ca.crt" in problem.message
        lax = secret | {"url": secret["url"] + "?ssl_cert_reqs=none"}
        assert on_broker(lax, ready) == 0


@needs_openssl
@pytest.mark.redis
def test_redis_by_tls(certificate: Path, on_broker: Any) -> None:
    (port,) = free_ports(1)
    options = ["--tls-port", str(port), "--tls-auth-clients", "no"]
    options += [
        "--tls-cert-file",
        str(certificate / "cert.pem"),
        "--tls-key-file",
        str(certificate / "key.pem"),
    ]
    options += ["--tls-ca-cert-file", str(certificate / "cert.pem")]
    secret = {"url": f"rediss://:right@127.0.0.1:{port}/0"}
    with RedisServer(password="right", options=options):
        assert on_broker(secret | {"ca.crt": (certificate / "cert.pem").read_text()}, ready) == 0
        assert on_broker({"url": secret["url"] + "?ssl_cert_reqs=CERT_NONE"}, ready) == 0
        problem = refused(on_broker, secret)
        assert problem.reason == QueueReason.INVALID_CERTIFICATE
        assert "ca.crt" in problem.message


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[tuple[RedisServer, int]]:
    """A Redis server and the port of a Sentinel that watches it as `main`."""
    (port,) = free_ports(1)
    with RedisServer() as server:
        config = tmp_path / "sentinel.conf"
        config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {server.port} 1\n")
        process = subprocess.Popen(["redis-server", str(config), "--sentinel"], stdout=subprocess.DEVNULL)
        try:
            while not listening(port):
                assert process.poll() is None
                time.sleep(0.05)
            yield server, port
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.redis
def test_redis_by_sentinel(sentinel: tuple[RedisServer, int], on_broker: Any) -> None:
    _, port = sentinel
    url = f"sentinel://127.0.0.1:{port}/0"
    assert on_broker({"url": url, "master-name": "main"}, ready) == 0
    problem = refused(on_broker, {"url": url, "master-name": "other"})
    assert problem.reason == QueueReason.UNREACHABLE
    assert "master-name" in problem.message
