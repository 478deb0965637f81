"""A program for Celery that is traced by OpenTelemetry; nothing in it knows Taskyard."""

import contextlib
import os

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def instrument():
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(os.environ["COLLECTOR"])))
    trace.set_tracer_provider(provider)
    # The distribution `celery` is not installed where Taskyard stands in for it.
    CeleryInstrumentor().instrument(skip_dep_check=True)


@worker_process_init.connect
def in_child(**_):
    instrument()


@worker_process_shutdown.connect
def at_end(**_):
    trace.get_tracer_provider().shutdown()


app = Celery("otel_app", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])


@app.task
def add(x, y):
    return x + y


@app.task(bind=True)
def start(self, x):
    add.delay(x, 1)
    raise KeyError(x)


def main():
    instrument()
    with trace.get_tracer("client").start_as_current_span("the client"), contextlib.suppress(KeyError):
        start.delay(2).get(timeout=60)
    trace.get_tracer_provider().shutdown()
