"""Tasks for a real Celery worker."""

import os
import time

from celery import Celery

app = Celery("celery_jobs", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])


def add(x: int, y: int) -> int:
    return x + y


def nap(seconds: float) -> None:
    time.sleep(seconds)


# Celery's decorator is untyped and would make the functions so.
for function in (add, nap):
    app.task(function)
