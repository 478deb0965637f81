"""Serialisers, compression, signatures and sizes between Celery's client, ours and a real worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import celery
import pytest
from kombu.serialization import enable_insecure_serializers, registry

from taskyard import App
from tests.integration.routing.conftest import StartRouted
from tests.integration.worker.harness import Broker, wait_until
from tests.unit.message.test_auth import make

METHODS = ("gzip", "bzip2", "lzma", "zstd", "brotli")


def clients(broker: Broker) -> list[Any]:
    ours = App("ours", broker=broker.url, backend=broker.backend)
    return [ours, celery.Celery("theirs", broker=broker.url, backend=broker.backend, set_as_current=False)]


@pytest.mark.parametrize("kind", ["redis", "amqp"])
def test_every_serializer_and_compression(
    kind: str, request: pytest.FixtureRequest, start_routed: StartRouted
) -> None:
    broker: Broker = request.getfixturevalue(f"{kind}_broker")
    worker = start_routed(broker, {"accept_content": ["json", "msgpack", "yaml"]})
    for client in clients(broker):
        results = [
            client.send_task("routing_jobs.value", ([name, "x" * 3000],), serializer=name)
            for name in ("json", "msgpack", "yaml")
        ]
        results += [
            client.send_task("routing_jobs.value", ([method, "x" * 3000],), compression=method)
            for method in METHODS
        ]
        for result, name in zip(results, ("json", "msgpack", "yaml", *METHODS), strict=True):
            assert result.get(timeout=60) == [name, "x" * 3000]
        client.send_task("routing_jobs.mark", ("pickled",), serializer="pickle")
    ours = clients(broker)[0]
    ours.conf.task_compression = "zstd"
    ours.send_task("routing_jobs.mark", ("by setting",))
    wait_until(lambda: worker.ran() == ["w0 by setting"])
    wait_until(lambda: worker.text().count("'application/x-python-serialize' is not accepted") >= 2)


@pytest.mark.redis
def test_pickle_where_it_is_accepted_and_too_large_bodies(
    redis_broker: Broker, start_routed: StartRouted
) -> None:
    worker = start_routed(
        redis_broker,
        {"accept_content": ["json", "pickle"], "worker_max_message_bytes": 100_000},
        environment={"C_FORCE_ROOT": "1"},
    )
    for client in clients(redis_broker):
        result = client.send_task("routing_jobs.value", ({1, 2}.__class__([3]),), serializer="pickle")
        with pytest.raises(Exception, match=r"(?s)set"):
            result.get(timeout=60)  # a set is no JSON: the result cannot be stored, the argument came through
        client.send_task("routing_jobs.value", ("x" * 100_000,))
        client.send_task("routing_jobs.value", ("x" * 3_000_000,), compression="gzip")
        client.send_task("routing_jobs.mark", ("fine",))
    wait_until(lambda: worker.ran() == ["w0 fine"] * 2)
    wait_until(lambda: worker.text().count("the body has more than 100000 bytes") >= 4)


@pytest.mark.redis
def test_signed_messages_both_ways(redis_broker: Broker, start_routed: StartRouted, tmp_path: Path) -> None:
    key, certificate = make(tmp_path, "everyone")
    settings = {
        "task_serializer": "auth",
        "accept_content": ["auth"],
        "security_key": str(key),
        "security_certificate": str(certificate),
        "security_cert_store": str(certificate.parent),
    }
    worker = start_routed(redis_broker, settings)
    unsigned = App("unsigned", broker=redis_broker.url)
    unsigned.send_task("routing_jobs.mark", ("unsigned",))
    try:
        for client in clients(redis_broker):
            client.conf.update({**settings, "result_serializer": "json", "result_accept_content": ["json"]})
            client.setup_security(["json"])
            assert client.send_task("routing_jobs.value", ("signed",)).get(timeout=60) == "signed"
            client.send_task("routing_jobs.twice", ("again",))
    finally:
        registry.unregister("auth")
        enable_insecure_serializers(["json", "yaml", "pickle", "msgpack"])
        registry._set_default_serializer("json")
    wait_until(lambda: worker.ran() == ["w0 again 0", "w0 again 1"] * 2 or len(worker.ran()) == 4)
    assert sorted(worker.ran()) == ["w0 again 0"] * 2 + ["w0 again 1"] * 2
    assert "'application/json' is not accepted" in worker.text()
