"""Tasks: a typed callable with its options; called directly, sent, retried."""

from taskyard.context import Context
from taskyard.task.making import make_task, origin_of
from taskyard.task.task import Task, find_task

__all__ = ["Context", "Task", "find_task", "make_task", "origin_of"]
