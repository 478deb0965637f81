"""Tasks for a real Celery worker."""

import os

from celery import Celery

app = Celery("celery_jobs", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])


@app.task
def add(x, y):
    return x + y


@app.task
def echo(*args):
    return list(args)


@app.task
def fail():
    raise ValueError("from celery")
