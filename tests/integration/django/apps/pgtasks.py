"""Tasks that use a database whose connections are open before the first process is forked, and after."""

import os
from pathlib import Path

import django
from django.db import connection, transaction

from taskyard import App
from taskyard.contrib.django import DjangoTask
from taskyard.signals import task_received

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pgsettings")

app = App("pgtasks")
app.config_from_object("django.conf:settings", namespace="CELERY")
django.setup()


def backend_pid():
    """The server's process for this connection."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        return cursor.fetchone()[0]


if os.environ.get("EARLY"):
    backend_pid()


@task_received.connect
def in_parent(**_):
    """The worker's parent process has a connection, which each child that is forked later inherits."""
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(f"{backend_pid()}\n")


@app.task
def ask():
    return os.getpid(), backend_pid()


@app.task
def outer():
    """An eager task within a transaction must not close its connection."""
    with transaction.atomic():
        before = backend_pid()
        ask.apply().get(disable_sync_subtasks=False)
        return before == backend_pid()


assert isinstance(ask, DjangoTask)
