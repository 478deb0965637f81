"""Tasks for canvases, of Taskyard or (FLOWS=celery) of Celery."""

from __future__ import annotations

import os
from typing import Any

if os.environ.get("FLOWS") == "celery":
    from celery import Celery as App
    from celery import chain, group, shared_task
else:
    from taskyard import App, chain, group, shared_task  # type: ignore[assignment]

url = os.environ.get("FLOWS_URL", "redis://localhost")
app = App("flows", broker=url, backend=url)
app.conf.task_default_queue = os.environ.get("FLOWS_QUEUE", "celery")
app.conf.result_extended = True


@shared_task(name="add")
def add(x: int, y: int) -> int:
    return x + y


@shared_task(name="total")
def total(numbers: list[Any]) -> int:
    return sum(total(number) if isinstance(number, list) else number for number in numbers)


@shared_task(name="fail")
def fail(*args: Any) -> None:
    raise ValueError("as wanted")


@shared_task(name="who")
def who(*args: Any) -> list[Any]:
    """Which worker ran this, and those before it."""
    return [*args, os.environ.get("FLOWS", "taskyard")]


@shared_task(name="twice", bind=True)
def twice(self: Any, x: int) -> Any:
    return self.replace(chain(add.s(x, 0), add.s(x)))


@shared_task(name="both", bind=True)
def both(self: Any, x: int) -> Any:
    return self.replace(group(add.s(x, 1), twice.s(x)))


@shared_task(name="note")
def note(task_id: str) -> str:
    return f"failed: {task_id}"


@shared_task(name="stamps", bind=True)
def stamps(self: Any, *args: Any) -> Any:
    return self.request.stamps
