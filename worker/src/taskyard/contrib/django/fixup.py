"""What an app and its worker need where Django is used.

`fixup(app)` is called for every App that is made while DJANGO_SETTINGS_MODULE is set. It does nothing that
takes time: Django itself is set up by the worker, before it imports the tasks.

Between tasks a worker does what Django does between requests: connections to databases that are broken or
older than CONN_MAX_AGE are closed (with its default of 0 that is all of them), and caches are closed. A
child process never touches a connection that its parent had opened.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from taskyard import signals
from taskyard.errors import TaskyardWarning
from taskyard.local import maybe_evaluate

if TYPE_CHECKING:
    from taskyard.app import App

ENVIRONMENT = "DJANGO_SETTINGS_MODULE"
#: Set to anything: the worker starts without Django's system checks.
SKIP_CHECKS = ("TASKYARD_SKIP_CHECKS", "CELERY_SKIP_CHECKS")


def fixup(app: App) -> DjangoFixup | None:
    """Tie the app to Django if the environment names its settings."""
    if not os.environ.get(ENVIRONMENT):
        return None
    if find_spec("django") is None:
        text = f"{ENVIRONMENT} is set, but Django is missing: pip install taskyard[django]"
        warnings.warn(text, TaskyardWarning, stacklevel=4)
        return None
    return DjangoFixup(app)


class DjangoFixup:
    """One app's ties to Django, through signals."""

    def __init__(self, app: App) -> None:
        self.app = app
        # The project's own modules come before the system's.
        here = os.getcwd()
        if here not in sys.path:
            sys.path.insert(0, here)
        if app.task_cls == type(app).task_cls:
            app.task_cls = "taskyard.contrib.django.task:DjangoTask"
        uid = f"taskyard.django.{id(app)}"
        signals.import_modules.connect(self.set_up, sender=app, weak=False, dispatch_uid=uid)
        signals.worker_init.connect(self.on_worker_init, weak=False, dispatch_uid=uid)

    def set_up(self, **_: Any) -> None:
        """django.setup() and the system checks, before the task modules are imported."""
        import django

        django.setup()
        if not any(os.environ.get(name) for name in SKIP_CHECKS):
            from django.core.checks import run_checks

            run_checks()

    def autodiscover_tasks(self) -> list[str]:
        """The packages whose tasks the app imports."""
        from django.apps import apps

        if not apps.ready:
            self.set_up()
        return [config.name for config in apps.get_app_configs()]

    def on_worker_init(self, sender: Any = None, **_: Any) -> None:
        """A worker starts; another app's worker is none of ours."""
        theirs = maybe_evaluate(getattr(sender, "app", None))
        if theirs is not None and theirs is not maybe_evaluate(self.app):
            return
        install_connection_care()


def install_connection_care() -> None:
    """See to connections before and after each task and in each new process."""
    signals.task_prerun.connect(_before_task, weak=False, dispatch_uid="taskyard.django.before")
    signals.task_postrun.connect(_after_task, weak=False, dispatch_uid="taskyard.django.after")
    signals.worker_process_init.connect(_in_new_process, weak=False, dispatch_uid="taskyard.django.process")
    signals.beat_embedded_init.connect(_in_new_process, weak=False, dispatch_uid="taskyard.django.beat")
    # What importing the tasks has opened must not be there when the first child is forked.
    close_all()


def _eager(task: Any) -> bool:
    """An eager task runs within somebody's own transaction."""
    return bool(getattr(getattr(task, "request", None), "is_eager", False))


def _before_task(task: Any = None, **_: Any) -> None:
    if not _eager(task):
        close_old()


def _after_task(task: Any = None, **_: Any) -> None:
    if not _eager(task):
        close_old()
        close_caches()


def _in_new_process(**_: Any) -> None:
    forget_inherited()
    close_caches()


def close_old() -> None:
    """Close what is broken or has reached its CONN_MAX_AGE."""
    from django.db import close_old_connections

    close_old_connections()


def close_all() -> None:
    """Close every connection of this thread, and pools."""
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        connection.close()
        if hasattr(connection, "close_pool"):
            with suppress(KeyError):  # closed by another thread
                connection.close_pool()
    close_caches()


def close_caches() -> None:
    """Close the caches as at the end of a request."""
    from django.core.cache import close_caches as close

    close()


def forget_inherited() -> None:
    """Drop connections that came with a fork without a word to their servers: they are the parent's."""
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            _cut_off(connection.connection)
        connection.close()
        # The pool's connections and threads stayed with the parent; a new pool is made when it is needed.
        getattr(type(connection), "_connection_pools", {}).pop(connection.alias, None)


def _cut_off(raw: Any) -> None:
    """Let the socket lead nowhere, so that closing the connection sends nothing to the server."""
    try:
        number = raw.fileno()
    except Exception:
        return  # a file database, or a client library that hides its socket
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, number)
    os.close(nowhere)
