"""What steps written for Celery name in their `requires`: parts that are there before any step begins."""

from taskyard.bootsteps import Step


class Timer(Step):
    """The timers of the loop."""


class Hub(Step):
    """The loop."""


class Pool(Step):
    """The pool."""


class Beat(Step):
    """The scheduler beside the worker."""


class StateDB(Step):
    """What is kept over a restart."""


class Consumer(Step):
    """What takes tasks from the broker."""
