"""The same tasks for Celery's worker and for ours, each with its own defaults; $SIDE says whose."""

import importlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kombu import Exchange, Queue

SIDE = os.environ["SIDE"]
if SIDE == "celery":
    Maker: Any = importlib.import_module("celery").Celery
else:
    Maker = importlib.import_module("taskyard").App

app = Maker("pains", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
app.conf.update(broker_connection_retry_on_startup=True, worker_concurrency=1)
app.conf.task_default_queue_type = os.environ.get("QUEUE_TYPE", "classic")
if os.environ["BROKER"].startswith("redis"):
    app.conf.broker_transport_options = {
        "visibility_timeout": float(os.environ.get("VISIBILITY_TIMEOUT", "3600")),
    }
    if SIDE == "celery":
        # How often it looks for what has been out too long: usually each 100 s.
        app.conf.broker_transport_options |= {"unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    else:
        if "CLIENT_NAME" in os.environ:  # the worker's connection is redis-py's then
            app.conf.broker_transport_options |= {"client_name": os.environ["CLIENT_NAME"]}
        if "QUEUE_ARGUMENTS" in os.environ:  # takes kombu's transport instead of the worker's own link
            arguments = json.loads(os.environ["QUEUE_ARGUMENTS"])
            app.conf.task_queues = [Queue("celery", Exchange("celery"), "celery", queue_arguments=arguments)]
        # After how many silent seconds a worker's messages are given to others.
        app.conf.broker_transport_options |= {"lease_seconds": float(os.environ.get("LEASE_SECONDS", "3"))}
if "MOST_BYTES" in os.environ:
    app.conf.worker_max_message_bytes = int(os.environ["MOST_BYTES"])
if "TICK" in os.environ:
    app.conf.beat_schedule = {"tick": {"task": "pains.tick", "schedule": float(os.environ["TICK"])}}


def record(what: str) -> None:
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(f"{what}\n")


@app.task(name="pains.run")  # type: ignore[untyped-decorator, unused-ignore]
def run(name: str, seconds: float = 0.0) -> str:
    record(f"begin {name} {os.environ['WORKER']}")
    time.sleep(seconds)
    record(f"end {name} {os.environ['WORKER']}")
    return name


@app.task(name="pains.run_late", acks_late=True)  # type: ignore[untyped-decorator, unused-ignore]
def run_late(name: str, seconds: float = 0.0) -> None:
    record(f"begin {name} {os.environ['WORKER']}")
    time.sleep(seconds)
    record(f"end {name} {os.environ['WORKER']}")


@app.task(name="pains.add")  # type: ignore[untyped-decorator, unused-ignore]
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="pains.total")  # type: ignore[untyped-decorator, unused-ignore]
def total(numbers: list[int]) -> int:
    record(f"total {sum(numbers)}")
    return sum(numbers)


@app.task(name="pains.wait")  # type: ignore[untyped-decorator, unused-ignore]
async def wait(name: str) -> str:
    record(f"awaited {name}")
    return name


def limited(
    name: str, rule: str, *arguments: Any, celery: dict[str, Any] | None = None, **options: Any
) -> Callable[[Callable[..., Any]], Any]:
    """A task with one of our limits; with Celery what comes next to it."""
    if SIDE == "celery":
        return app.task(name=name, **(celery or {}))  # type: ignore[no-any-return]
    limits = importlib.import_module("taskyard.limits")
    return app.task(name=name, limits=[getattr(limits, rule)(*arguments, **options)])  # type: ignore[no-any-return]


@limited("pains.rated", "Rate", 1, celery={"rate_limit": "1/s"})
def rated(name: str) -> None:
    record(f"begin {name} {os.environ['WORKER']}")


@limited("pains.unique", "Once", "{name}", window=60)
def unique(name: str) -> None:
    record(f"begin {name} {os.environ['WORKER']}")


@limited("pains.alone", "Lock", "{name}", retry_after=0.2)
def alone(name: str, seconds: float) -> None:
    run(name, seconds)


if SIDE == "taskyard":
    rules = importlib.import_module("taskyard.limits")

    @app.task(
        name="pains.guarded", limits=[rules.Once("{name}", window=60), rules.Lock("{name}", retry_after=1)]
    )  # type: ignore[untyped-decorator, unused-ignore]
    def guarded(name: str, seconds: float) -> None:
        run(name, seconds)


@app.task(name="pains.tick")  # type: ignore[untyped-decorator, unused-ignore]
def tick() -> None:
    record(f"begin tick {os.environ['WORKER']}")
