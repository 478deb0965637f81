"""Sentry's and OpenTelemetry's own integrations for Celery, on Taskyard as it calls itself Celery."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.brokers.redis import RedisServer
from tests.harness.program import Program, wait_until
from tests.integration.tracing.collector import Collector

APPS = Path(__file__).parent / "apps"
pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def environment(redis_server: RedisServer, collector: Collector) -> dict[str, str]:
    return {
        "REDIS_URL": redis_server.url,
        "DSN": f"http://key@127.0.0.1:{collector.port}/1",
        "COLLECTOR": f"http://127.0.0.1:{collector.port}/v1/traces",
        "PYTHONPATH": str(APPS),
    }


def run_both(module: str, environment: dict[str, str], logs: Path) -> None:
    """A worker and a client, which have ended in good order when this returns."""
    boot = "import taskyard.as_celery; taskyard.as_celery.install(); "
    program = f"{boot}from taskyard.cli.main import main; raise SystemExit(main())"
    command = [sys.executable, "-c", program, "-A", module, "worker", "-c", "1", "-n", "w"]
    worker = Program(command, APPS, logs / "worker", environment)
    try:
        client = subprocess.run(
            [sys.executable, "-c", f"{boot}import {module}; {module}.main()"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert client.returncode == 0, client.stdout + client.stderr + worker.text()
    finally:
        code = worker.stop()
    assert code == 0, worker.text()


def test_sentry(environment: dict[str, str], collector: Collector, tmp_path: Path) -> None:
    run_both("sentry_app", environment, tmp_path)
    items = [item for _, body in collector.posted for item in _envelope(body)]
    errors = [item for item in items if item.get("exception")]
    (error,) = errors
    assert error["exception"]["values"][-1]["type"] == "ZeroDivisionError"
    assert error["exception"]["values"][-1]["mechanism"] == {"type": "celery", "handled": False}
    assert error["transaction"] == "sentry_app.divide"
    assert error["extra"]["celery-job"]["args"] == [1, 0]
    transactions = [item for item in items if item.get("type") == "transaction"]
    names = sorted(item["transaction"] for item in transactions)
    assert names == ["sentry_app.again"] * 2 + ["sentry_app.divide"] * 2 + ["the client"]
    traces = {item["contexts"]["trace"]["trace_id"] for item in transactions}
    assert len(traces) == 1, "the client's trace goes on in the worker"
    assert error["contexts"]["trace"]["trace_id"] in traces
    spans = [span for item in transactions for span in item["spans"] if span["op"] == "queue.process"]
    assert len(spans) == 4
    (process,) = (span for span in spans if span["parent_span_id"] == error["contexts"]["trace"]["span_id"])
    assert process["status"] == "internal_error"
    assert process["data"]["messaging.destination.name"] == "celery"
    assert process["data"]["messaging.message.receive.latency"] > 0


def _envelope(body: bytes) -> Iterator[dict[str, Any]]:
    for line in body.splitlines()[1:]:
        item = json.loads(line)
        if "length" not in item:
            yield item


def test_opentelemetry(environment: dict[str, str], collector: Collector, tmp_path: Path) -> None:
    run_both("otel_app", environment, tmp_path)
    wait_until(lambda: len(_spans(collector)) >= 5, what="all spans")
    spans = {span.name: span for span in _spans(collector)}
    assert set(spans) == {
        "the client",
        "apply_async/otel_app.start",
        "run/otel_app.start",
        "apply_async/otel_app.add",
        "run/otel_app.add",
    }
    assert len({span.trace_id for span in spans.values()}) == 1
    way = ["run/otel_app.add", "apply_async/otel_app.add", "run/otel_app.start", "apply_async/otel_app.start"]
    for child, parent in zip(way, [*way[1:], "the client"], strict=True):
        assert spans[child].parent_span_id == spans[parent].span_id, f"{child} is not below {parent}"
    failed = spans["run/otel_app.start"]
    assert failed.status.code == failed.status.STATUS_CODE_ERROR
    (event,) = failed.events
    attributes = {each.key: each.value.string_value for each in event.attributes}
    assert attributes["exception.type"] == "KeyError"
    told = {each.key: each.value.string_value for each in failed.attributes}
    assert told["celery.task_name"] == "otel_app.start"
    assert told["celery.action"] == "run"


def _spans(collector: Collector) -> list[Any]:
    return [
        span
        for _, body in collector.posted
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
