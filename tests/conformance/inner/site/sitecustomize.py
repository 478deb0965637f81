"""In the processes that tests start, too, `celery` is Taskyard."""

from taskyard import as_celery

as_celery.install()
