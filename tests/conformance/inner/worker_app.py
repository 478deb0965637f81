"""The app that a worker under test runs: Celery's own integration tasks with the suite's settings.

It says `celery`, and whose Celery that is, is the process's business.
"""

import os
from importlib import import_module

from celery import Celery

app = Celery("celery.tests", broker=os.environ["TEST_BROKER"], backend=os.environ["TEST_BACKEND"])
app.conf.update(
    accept_content=["json"],
    broker_heartbeat=0,
    enable_utc=True,
    result_extended=True,
    task_create_missing_queues=False,
    timezone="UTC",
    worker_hijack_root_logger=False,
)
app.set_default()
app.set_current()

tasks = import_module("t.integration.tasks")
app.register_task(tasks.ClassBasedAutoRetryTask())
