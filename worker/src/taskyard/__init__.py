"""Taskyard: a distributed task queue on Celery's wire.

from taskyard import App

app = App("shop", broker="redis://localhost/0")

@app.task
def add(x: int, y: int) -> int:
    return x + y
"""

from taskyard.app import App
from taskyard.context import current_task
from taskyard.task import Task

__version__ = "0.1.0"

__all__ = ["App", "Task", "__version__", "current_task"]
