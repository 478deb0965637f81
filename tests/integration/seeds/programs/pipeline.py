"""The first text's programs: retries, canvas, dead letters at RabbitMQ, the three steps of a pipeline."""

import json
import os
import time
from functools import cache

import redis as redis_module
from prometheus_client import CollectorRegistry, Counter, Histogram

from taskyard import App as Celery
from taskyard import chain, chord

celery_app = Celery("tasks", broker=os.environ["BROKER"], backend=os.environ["RESULTS"])

celery_app.conf.update(
    broker_url=os.environ["BROKER"],
    result_backend=os.environ["RESULTS"],
    task_serializer="json",
    accept_content=["json"],
    result_serializer="json",
    timezone="Asia/Seoul",
    task_queues={
        "scan.ai.pipeline": {
            "exchange": "scan",
            "routing_key": "scan.ai.pipeline",
            "queue_arguments": {
                "x-dead-letter-exchange": "dlx",
                "x-dead-letter-routing-key": "scan.ai.dlq",
            },
        },
        "notification": {"exchange": "notification", "routing_key": "notification"},
        "celery": {"exchange": "celery", "routing_key": "celery"},
    },
    task_routes={
        "scan.tasks.vision_scan": {"queue": "scan.ai.pipeline"},
        "scan.tasks.rule_match": {"queue": "scan.ai.pipeline"},
        "scan.tasks.answer_gen": {"queue": "scan.ai.pipeline"},
        "scan.tasks.doomed": {"queue": "scan.ai.pipeline"},
        "notification.tasks.*": {"queue": "notification"},
    },
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_default_retry_delay=60,
    task_max_retries=3,
)


@cache
def store():
    return redis_module.Redis.from_url(os.environ["RESULTS"], decode_responses=True)


class TransientError(Exception):
    pass


@celery_app.task
def add(x, y):
    return x + y


@celery_app.task(bind=True, max_retries=3)
def resize(self, image):
    try:
        if image == "flaky" and self.request.retries < 2:
            raise TransientError
        return f"{image} small"
    except TransientError as exc:
        raise self.retry(exc=exc, countdown=0.1 * 2**self.request.retries)


@celery_app.task(
    bind=True,
    autoretry_for=(ConnectionError,),
    retry_backoff=True,
    retry_backoff_max=0,
    retry_kwargs={"max_retries": 5},
)
def mail(self, user):
    if self.request.retries < 4:
        raise ConnectionError(user)
    return self.request.retries


@celery_app.task(bind=True, max_retries=5, default_retry_delay=60)
def unreliable(self, data):
    try:
        raise {"away": TimeoutError, "wrong": ValueError}[data](data)
    except (ConnectionError, TimeoutError) as exc:
        raise self.retry(exc=exc, countdown=2**self.request.retries * 60)
    except ValueError:
        raise


@celery_app.task
def total(results):
    return len(results), sorted(results)


def batch(images):
    return chord([resize.s(image) for image in images], total.s()).apply_async()


@celery_app.task(bind=True, name="scan.tasks.doomed", max_retries=1, acks_on_failure_or_timeout=False)
def doomed(self, job):
    try:
        raise RuntimeError(job)
    except Exception as exc:
        raise self.retry(exc=exc, countdown=0.1)


registry = CollectorRegistry()
runs = Counter("celery_task_total", "Tasks", ["task_name", "status"], registry=registry)
latency = Histogram("celery_task_latency_seconds", "Latency", ["task_name"], registry=registry)


@celery_app.task(bind=True)
def monitored(self, data):
    start = time.time()
    try:
        result = 10 / data
        runs.labels(task_name=self.name, status="success").inc()
        return runs.labels(task_name=self.name, status="success")._value.get(), result
    finally:
        latency.labels(task_name=self.name).observe(time.time() - start)


@celery_app.task(bind=True, max_retries=3, name="scan.tasks.vision_scan")
def vision_scan(self, task_id, image_url):
    store().hset(f"task:{task_id}", mapping={"status": "processing", "step": "vision", "progress": 10})
    try:
        if self.request.retries == 0:
            raise TransientError("the model is busy")
        seen = {"thing": image_url.rsplit("/")[-1]}
        store().hset(f"task:{task_id}", mapping={"progress": 33, "vision_result": json.dumps(seen)})
        return seen
    except Exception as exc:
        store().hset(f"task:{task_id}", "status", "retrying")
        raise self.retry(exc=exc, countdown=2**self.request.retries)


@celery_app.task(name="scan.tasks.rule_match")
def rule_match(vision_result, task_id):
    store().hset(f"task:{task_id}", mapping={"step": "rule", "progress": 50})
    return {"vision_result": vision_result, "rules": ["rinse"]}


@celery_app.task(bind=True, max_retries=3, name="scan.tasks.answer_gen")
def answer_gen(self, prev_result, task_id):
    answer = {"text": f"{prev_result['vision_result']['thing']}: {prev_result['rules'][0]}"}
    fields = {"status": "completed", "step": "complete", "progress": 100, "result": json.dumps(answer)}
    store().hset(f"task:{task_id}", mapping=fields)
    return answer


def scan(task_id, image_url):
    store().hset(f"task:{task_id}", "status", "queued")
    workflow = chain(vision_scan.s(task_id, image_url), rule_match.s(task_id), answer_gen.s(task_id))
    return workflow.apply_async()
