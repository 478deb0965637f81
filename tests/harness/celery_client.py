"""Tasks sent by the ordinary celery client package, which knows nothing of Taskyard."""

from collections.abc import Iterable, Sequence
from typing import Any

from celery import Celery

Call = tuple[str, Sequence[Any]]


def client(broker: str, backend: str | None = None) -> Celery:
    """A bare Celery application, with the defaults of a project that only names its broker."""
    return Celery("client", broker=broker, backend=backend, set_as_current=False)


def send(app: Celery, queue: str, calls: Iterable[Call]) -> list[str]:
    """Send calls, each a task's name and its arguments, to a queue; returns the task ids in order."""
    with app.producer_or_acquire() as producer:
        return [
            app.send_task(name, args=list(args), queue=queue, ignore_result=True, producer=producer).id
            for name, args in calls
        ]
