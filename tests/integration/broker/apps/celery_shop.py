"""An ordinary Celery app; TRANSPORT says by which scheme it reaches its Redis."""

import os
import time

import redis
from celery import Celery

import taskyard.contrib.redis_transport

URL = os.environ["SHOP_REDIS"]

app = Celery("shop", broker=URL.replace("redis", os.environ.get("TRANSPORT", "redis"), 1))
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=2,
    broker_transport_options={"lease_seconds": 6},
)
__all__ = ["app", "nap", "taskyard"]


@app.task(name="shop.nap")  # type: ignore[untyped-decorator]
def nap(name: str, seconds: float) -> None:
    client = redis.Redis.from_url(URL)
    client.rpush("begun", name)
    time.sleep(seconds)
    client.rpush("ended", name)
