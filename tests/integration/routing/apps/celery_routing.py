"""The task that Celery's own worker runs; settings and record as in routing_jobs."""

import json
import os
from pathlib import Path

from celery import Celery

app = Celery("celery_routing", broker=os.environ["TASKYARD_BROKER_URL"])
app.conf.update(json.loads(os.environ["SETTINGS"]))


def mark(name: str) -> None:
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(f"celery {name}\n")


app.task(mark, name="routing_jobs.mark")
