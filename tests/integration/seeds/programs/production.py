"""The third text's tasks."""

import os
import signal
import time

import redis

from taskyard import App as Celery
from taskyard import Task, shared_task
from taskyard.exceptions import Retry, SoftTimeLimitExceeded
from taskyard.utils.log import get_task_logger

logger = get_task_logger(__name__)
redis_client = redis.StrictRedis.from_url(os.environ["RESULTS"], decode_responses=True)

celery = Celery("myapp")
celery.config_from_object("production_settings", namespace="CELERY")


class MyTask(Task):
    autoretry_for = (OSError,)
    retry_kwargs = {"max_retries": 3, "countdown": 0}
    retry_backoff = True
    retry_backoff_max = 0
    retry_jitter = True


@celery.task(base=MyTask, bind=True)
def stubborn(self):
    if self.request.retries < 3:
        raise OSError
    return self.request.retries


@celery.task(time_limit=300, soft_time_limit=1.0)
def endless():
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        logger.warning("soft limit")
        redis_client.incr("tidied up")
        raise


@celery.task(name="app.tasks.email.logged")
def logged():
    logger.info("Task started")
    try:
        return 1 / 0
    except Exception as e:
        logger.error(f"Task failed: {e}", exc_info=True)
        raise


@celery.task(bind=True)
def process_payment(self, order_id):
    if not redis_client.sadd("paid", order_id):
        return "Already processed"
    return "paid"


@celery.task
def locked(resource_id):
    lock = redis_client.lock(f"task_lock:{resource_id}", timeout=300)
    if not lock.acquire(blocking=False):
        return "Task already in progress"
    try:
        time.sleep(1)
        return "done"
    finally:
        lock.release()


class CustomTask(Task):
    def on_failure(self, exc, task_id, args, kwargs, einfo):
        redis_client.rpush("failed", f"{task_id} {args} {kwargs} {exc}")
        super().on_failure(exc, task_id, args, kwargs, einfo)


@celery.task(base=CustomTask)
def doomed(x, y=2):
    raise ValueError("permanent")


@shared_task(
    bind=True,
    time_limit=300,
    soft_time_limit=270,
    max_retries=3,
    default_retry_delay=0,
    autoretry_for=(ConnectionError, TimeoutError),
    retry_backoff=True,
    retry_backoff_max=600,
    retry_jitter=True,
)
def recommended(self, resource_id):
    try:
        if self.request.retries < 2:
            raise ConnectionError
        return resource_id, self.request.retries
    except (ConnectionError, TimeoutError) as e:
        raise self.retry(exc=e)


@celery.task
def number(i):
    return i


@celery.task
def callback(values):
    return sum(values)


assert issubclass(Retry, Exception)


def shutdown_handler(signum, frame):
    celery.control.shutdown()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, shutdown_handler)
    signal.raise_signal(signal.SIGTERM)
