"""Several brokers that stand in for each other: one is stopped, and client and worker go on with the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskyard import App
from taskyard.errors import BrokerDisconnected
from tests.brokers.ports import free_ports
from tests.brokers.redis import RedisServer
from tests.integration.routing.conftest import StartRouted
from tests.integration.worker.harness import Broker, wait_until


@pytest.fixture
def pair() -> Iterator[tuple[RedisServer, RedisServer]]:
    with RedisServer() as first, RedisServer() as second:
        yield first, second


@pytest.mark.redis
def test_client_and_worker_move_on_when_a_broker_ends(
    pair: tuple[RedisServer, RedisServer], start_routed: StartRouted
) -> None:
    first, second = pair
    both = f"{first.url};{second.url}"
    worker = start_routed(both, {})
    app = App("client", broker=[first.url, second.url])
    app.send_task("routing_jobs.mark", ("before",))
    wait_until(lambda: worker.ran() == ["w0 before"])
    first.kill()
    app.send_task("routing_jobs.mark", ("after",))
    wait_until(lambda: worker.ran() == ["w0 before", "w0 after"])
    assert "lost the connection" in worker.text()
    first.start()
    second.kill()
    app.send_task("routing_jobs.mark", ("back",))
    wait_until(lambda: worker.ran()[2:] == ["w0 back"])


@pytest.mark.rabbitmq
def test_a_dead_first_broker_costs_no_wait(amqp_broker: Broker, start_routed: StartRouted) -> None:
    (dead,) = free_ports(1)
    both = f"amqp://guest:guest@127.0.0.1:{dead}//;{amqp_broker.url}"
    worker = start_routed(both, {"broker_failover_strategy": "round-robin"})
    app = App("client", broker=both)
    app.send_task("routing_jobs.mark", ("x",))
    wait_until(lambda: worker.ran() == ["w0 x"])


@pytest.mark.redis
def test_reading_and_writing_at_different_brokers(
    pair: tuple[RedisServer, RedisServer], start_routed: StartRouted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TASKYARD_BROKER_URL", raising=False)
    first, second = pair
    urls = {"broker_read_url": first.url, "broker_write_url": second.url}
    worker = start_routed(first.url, urls, environment={"TASKYARD_BROKER_URL": ""})
    App("client", broker=first.url).send_task("routing_jobs.twice", ("x",))
    wait_until(lambda: worker.ran() == ["w0 x 0"])
    beyond = start_routed(second.url, {})
    wait_until(lambda: beyond.ran() == ["w0 x 0", "w1 x 1"])


@pytest.mark.redis
def test_a_worker_that_may_not_wait_tries_every_broker_once(
    pair: tuple[RedisServer, RedisServer], start_routed: StartRouted
) -> None:
    first, second = pair
    first.kill()
    impatient = {"broker_connection_retry_on_startup": False}
    start_routed(f"{first.url};{second.url}", impatient)
    second.kill()
    worker = start_routed(f"{first.url};{second.url}", impatient, ready=False)
    assert worker.wait() == 1
    assert "broker_connection_retry_on_startup is off" in worker.text()


@pytest.mark.redis
def test_a_client_that_reaches_no_broker_says_so() -> None:
    ports = free_ports(2)
    app = App("client", broker=[f"redis://127.0.0.1:{port}" for port in ports], broker_connection_timeout=1)
    with pytest.raises(BrokerDisconnected, match=f"cannot publish to .*{ports[0]}.*{ports[1]}"):
        app.send_task("t", retry_policy={"max_retries": 1, "interval_start": 0})


@pytest.mark.redis
@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"broker_connection_max_retries": 2}, "broker_connection_max_retries is 2"),
        ({"broker_connection_retry": False}, "broker_connection_retry is off"),
    ],
)
def test_a_worker_gives_up_as_the_settings_say(
    settings: dict[str, object], why: str, start_routed: StartRouted
) -> None:
    with RedisServer() as server:
        worker = start_routed(server.url, settings)
        server.kill()
        assert worker.wait(60) == 1
        assert f"Giving up: {'lost' if 'retry is off' in why else 'cannot'}" in worker.text()
        assert why in worker.text()
