"""Tasks for a real Celery worker."""

import os

from celery import Celery

app = Celery("celery_jobs", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])


def add(x: int, y: int) -> int:
    return x + y


def echo(*args: object) -> list[object]:
    return list(args)


def fail() -> None:
    raise ValueError("from celery")


# Celery's decorator is untyped and would make the functions so.
for function in (add, echo, fail):
    app.task(function)
