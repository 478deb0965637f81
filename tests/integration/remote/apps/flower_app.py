"""The Celery app that Flower is started with; it must know the tasks whose limits it changes."""

import os

from celery import Celery

app = Celery("flower_app", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])


@app.task(name="remote_jobs.add")  # type: ignore[untyped-decorator]
def add(x: int, y: int) -> int:
    return x + y
