"""Loggers for tasks, under the path that Celery's users import."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taskyard import log
from taskyard.log import TASK_LOGGERS, LoggingProxy, level_of
from taskyard.log import ProcessNameFormatter as ColorFormatter

__all__ = (
    "LOG_LEVELS",
    "ColorFormatter",
    "LoggingProxy",
    "base_logger",
    "get_logger",
    "get_multiprocessing_logger",
    "get_task_logger",
    "in_sighandler",
    "mlevel",
    "reset_multiprocessing_logger",
    "set_in_sighandler",
    "task_logger",
    "worker_logger",
)

#: Number -> name and name -> number.
LOG_LEVELS: dict[Any, Any] = dict(logging._nameToLevel)
LOG_LEVELS.update(logging._levelToName)
#: The parent of what is logged here and of nothing else.
base_logger = logger = logging.getLogger("celery")
worker_logger = logging.getLogger("celery.worker")

#: The parent of all task loggers.
task_logger = logging.getLogger(TASK_LOGGERS[0])
_RESERVED = {"celery", "taskyard", *TASK_LOGGERS}


def get_logger(name: str) -> logging.Logger:
    """A logger by its name."""
    return logging.getLogger(name)


def get_task_logger(name: str) -> logging.Logger:
    """A logger whose lines carry the running task's name and id (worker_task_log_format)."""
    if name in _RESERVED:
        raise RuntimeError(f"Logger name {name!r} is reserved!")
    logger = logging.getLogger(name)
    if not _is_below(logger, task_logger):
        logger.parent = task_logger
    return logger


def _is_below(logger: logging.Logger, other: logging.Logger) -> bool:
    parent: logging.Logger | None = logger
    while parent is not None:
        if parent is other:
            return True
        parent = parent.parent
    return False


def mlevel(level: str | int) -> int:
    """The number of a level's name."""
    return level_of(level)


def set_in_sighandler(value: bool) -> None:
    """Say whether a signal's handler runs: what is printed is not logged then."""
    log.inside_signal_handler = value


@contextmanager
def in_sighandler() -> Iterator[None]:
    """In the body of a signal's handler."""
    set_in_sighandler(True)
    try:
        yield
    finally:
        set_in_sighandler(False)


def get_multiprocessing_logger() -> logging.Logger:
    """The logger of the package multiprocessing, which nothing here uses."""
    return logging.getLogger("multiprocessing")


def reset_multiprocessing_logger() -> None:
    """There is nothing to reset."""
