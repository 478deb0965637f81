"""Client and worker by TLS and by Sentinel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from taskyard import App
from tests.brokers.overheard import Overheard
from tests.brokers.ports import free_ports
from tests.brokers.rabbitmq import RabbitMQServer
from tests.brokers.redis import RedisServer
from tests.brokers.tls import make_certificate, sentinel, tls_redis
from tests.integration.routing.conftest import StartRouted
from tests.integration.worker.harness import wait_until


def round_trips(url: str, settings: dict[str, Any], start_routed: StartRouted, count: int = 120) -> None:
    """Many large messages: more than one TLS record is read at a time."""
    app = App("client", broker=url, **settings)
    for number in range(count):
        app.send_task("routing_jobs.mark", (f"{number}" + "x" * 2000,))
    worker = start_routed(url, settings)
    wait_until(lambda: len(worker.ran()) == count or worker.ended())
    assert not worker.ended()
    app.send_task("routing_jobs.mark", ("later",), countdown=1)
    wait_until(lambda: len(worker.ran()) == count + 1)
    wait_until(lambda: app.control.ping(timeout=2, limit=1) == [{"w0": {"ok": "pong"}}])
    assert worker.stop() == 0


@pytest.mark.redis
def test_redis_by_tls(tmp_path: Path, start_routed: StartRouted) -> None:
    certificate, key = make_certificate(tmp_path)
    with tls_redis(certificate, key) as port:
        trust = {"broker_use_ssl": {"ssl_ca_certs": str(certificate)}}
        round_trips(f"rediss://127.0.0.1:{port}/0", trust, start_routed)
        stranger = start_routed(
            f"rediss://127.0.0.1:{port}/0", {"broker_connection_max_retries": 1}, ready=False
        )
        assert stranger.wait() == 1
        assert "certificate verify failed" in stranger.text()


@pytest.mark.redis
def test_results_travel_with_the_acknowledgement_by_tls(tmp_path: Path, start_routed: StartRouted) -> None:
    certificate, key = make_certificate(tmp_path)
    with tls_redis(certificate, key) as port:
        trust = {"ssl_ca_certs": str(certificate)}
        settings: dict[str, Any] = {"broker_use_ssl": trust, "redis_backend_use_ssl": trust}
        url = f"rediss://127.0.0.1:{port}"
        app = App("client", broker=f"{url}/0", backend=f"{url}/1", **settings)
        start_routed(f"{url}/0", settings, backend=f"{url}/1")
        with Overheard(redis.Redis(port=port, ssl=True, ssl_ca_certs=str(certificate))) as overheard:
            result = app.send_task("routing_jobs.mark", ("x",))
            assert result.get(timeout=60) == "x"
            assert result.forget() is None
        scripts = [each for each in overheard.commands if f"celery-task-meta-{result.id}" in each]
        assert [each for each in scripts if each.startswith("EVAL") and " taskyard:lease:" in each]


@pytest.mark.redis
def test_redis_by_a_unix_socket(tmp_path: Path, start_routed: StartRouted) -> None:
    path = tmp_path / "redis.sock"
    with RedisServer(options=["--unixsocket", str(path)]):
        round_trips(f"redis+socket://{path}", {}, start_routed, count=20)


@pytest.mark.redis
@pytest.mark.parametrize("more", [{}, {"client_name": "shop"}], ids=["plain", "by redis-py"])
def test_priorities_by_transport_options(start_routed: StartRouted, more: dict[str, Any]) -> None:
    """As Celery's manual advises; a client of stock kombu and ours name the same lists."""
    options = {"sep": ":", "priority_steps": list(range(10)), "queue_order_strategy": "priority", **more}
    with RedisServer() as server, redis.Redis(port=server.port, decode_responses=True) as store:
        app = App("client", broker=server.url, broker_transport_options=options)
        stock = Celery("client", broker=server.url, broker_transport_options=options)
        for client, who in ((app, "ours"), (stock, "stock")):
            for priority in (9, 4, 0):
                client.send_task("routing_jobs.mark", (f"{who}-{priority}",), priority=priority)
        assert set(store.keys("celery*")) == {"celery", "celery:4", "celery:9"}
        worker = start_routed(server.url, {"broker_transport_options": options}, "--prefetch-multiplier", "1")
        wait_until(lambda: len(worker.ran()) == 6)
        assert [name.split()[-1] for name in worker.ran()] == [
            f"{who}-{priority}" for priority in (0, 4, 9) for who in ("ours", "stock")
        ]
        assert worker.stop() == 0


@pytest.mark.redis
def test_redis_by_sentinel(tmp_path: Path, start_routed: StartRouted) -> None:
    with sentinel(tmp_path) as (_, port):
        options = {"broker_transport_options": {"master_name": "main"}}
        (dead,) = free_ports(1)
        url = f"sentinel://127.0.0.1:{dead}/0;sentinel://127.0.0.1:{port}/0"
        round_trips(url, options, start_routed, count=20)


@pytest.mark.rabbitmq
def test_rabbitmq_by_tls(tmp_path: Path, start_routed: StartRouted) -> None:
    certificate, key = make_certificate(tmp_path)
    (port,) = free_ports(1)
    config = f"listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.certfile = {certificate}\n"
    config += f"ssl_options.keyfile = {key}\n"
    trust = {"ca_certs": str(certificate), "cert_reqs": 2, "server_hostname": "127.0.0.1"}
    with RabbitMQServer(management=False, config=config):
        settings = {"broker_use_ssl": trust}
        round_trips(f"amqps://guest:guest@127.0.0.1:{port}//", settings, start_routed)
