"""Tasks for canvases, of Taskyard or (FLOWS=celery) of Celery."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

library: Any = import_module("celery" if os.environ.get("FLOWS") == "celery" else "taskyard")
App: Any = library.Celery if os.environ.get("FLOWS") == "celery" else library.App
chain, group, shared_task = library.chain, library.group, library.shared_task

url = os.environ.get("FLOWS_URL", "redis://localhost")
app = App("flows", broker=url, backend=url)
app.conf.task_default_queue = os.environ.get("FLOWS_QUEUE", "celery")
app.conf.result_extended = True


@shared_task(name="add")  # type: ignore[untyped-decorator]
def add(x: int, y: int) -> int:
    return x + y


@shared_task(name="total")  # type: ignore[untyped-decorator]
def total(numbers: list[Any]) -> int:
    return sum(total(number) if isinstance(number, list) else number for number in numbers)


@shared_task(name="fail")  # type: ignore[untyped-decorator]
def fail(*args: Any) -> None:
    raise ValueError("as wanted")


@shared_task(name="who")  # type: ignore[untyped-decorator]
def who(*args: Any) -> list[Any]:
    """Which worker ran this, and those before it."""
    return [*args, os.environ.get("FLOWS", "taskyard")]


@shared_task(name="twice", bind=True)  # type: ignore[untyped-decorator]
def twice(self: Any, x: int) -> Any:
    return self.replace(chain(add.s(x, 0), add.s(x)))


@shared_task(name="both", bind=True)  # type: ignore[untyped-decorator]
def both(self: Any, x: int) -> Any:
    return self.replace(group(add.s(x, 1), twice.s(x)))


@shared_task(name="note")  # type: ignore[untyped-decorator]
def note(task_id: str) -> str:
    return f"failed: {task_id}"


@shared_task(name="stamps", bind=True)  # type: ignore[untyped-decorator]
def stamps(self: Any, *args: Any) -> Any:
    return self.request.stamps
