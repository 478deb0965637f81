"""A photo of waste becomes advice: look at it, find the rules, write the answer.

Three tasks in a chain. Each leaves its progress in a Redis hash, so that a client can follow the order of
things without asking for results; transient errors are retried with growing waits.
"""

import json
import os
from functools import cache
from typing import Any

import redis

from taskyard import App, Task, chain

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = App("vision_chain", broker=os.environ.get("BROKER_URL", REDIS_URL), backend=REDIS_URL)
app.conf.update(
    task_routes={"scan.*": {"queue": "scan.pipeline"}, "notify.*": {"queue": "notify"}},
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    timezone="Asia/Seoul",
)

RULES = {"bottle": "rinse it and take the label off", "can": "press it flat"}


@cache
def progress() -> Any:
    """One connection for each process."""
    return redis.Redis.from_url(REDIS_URL, decode_responses=True)


def report(job: str, **fields: Any) -> None:
    progress().hset(f"job:{job}", mapping=fields)


class ModelError(Exception):
    """The model had a bad moment."""


def look(url: str, attempt: int) -> dict[str, Any]:
    """Stands for a vision model; a URL that ends in `?flaky` fails twice."""
    if url.endswith("?flaky") and attempt < 2:
        raise ModelError("busy")
    return {"item": url.rsplit("/", 1)[-1].split(".")[0]}


@app.task(name="scan.vision", bind=True, max_retries=3)
def vision(self: Task[..., Any], job: str, url: str) -> dict[str, Any]:
    report(job, status="processing", step="vision", progress=10)
    try:
        seen = look(url, self.request.retries)
    except ModelError as error:
        report(job, status="retrying")
        raise self.retry(exc=error, countdown=0.1 * 2**self.request.retries) from None
    report(job, progress=33, seen=json.dumps(seen))
    return seen


@app.task(name="scan.rules")
def rules(seen: dict[str, Any], job: str) -> dict[str, Any]:
    report(job, step="rules", progress=50)
    found = {**seen, "rule": RULES.get(seen["item"])}
    report(job, progress=66)
    return found


@app.task(name="scan.answer")
def answer(found: dict[str, Any], job: str) -> str:
    report(job, step="answer", progress=75)
    text = f"A {found['item']}: {found['rule'] or 'general waste'}."
    report(job, status="completed", step="complete", progress=100, result=text)
    return text


@app.task(name="scan.failed")
def failed(request: Any, error: BaseException, traceback: Any, job: str) -> None:
    """Called for whichever step fails for good."""
    report(job, status="failed", error=repr(error))


def start(job: str, url: str) -> Any:
    """Send the chain; the result is that of its last step."""
    report(job, status="queued", progress=0)
    steps = chain(vision.s(job, url), rules.s(job), answer.s(job))
    return steps.apply_async(link_error=failed.s(job=job))
