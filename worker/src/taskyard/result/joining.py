"""Whether this is a place where waiting for a result may block all workers: inside a task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from taskyard.context import current_request

#: What allow_join_result and denied_join_result say here; None: look whether a task is running.
_decided: ContextVar[bool | None] = ContextVar("taskyard_join_will_block", default=None)


def task_join_will_block() -> bool:
    """Whether `get` is refused here."""
    decided = _decided.get()
    if decided is not None:
        return decided
    request = current_request()
    return request is not None and not request.called_directly and not request.is_eager


def assert_will_not_block() -> None:
    """RuntimeError inside a task, unless it was allowed."""
    if task_join_will_block():
        raise RuntimeError(
            "Never call result.get() within a task! It can block all workers: chain the tasks, "
            "or use allow_join_result() or disable_sync_subtasks=False if you know better"
        )


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Waiting is allowed within this block, even inside a task."""
    token = _decided.set(False)
    try:
        yield
    finally:
        _decided.reset(token)


@contextmanager
def denied_join_result() -> Iterator[None]:
    """Waiting is refused within this block."""
    token = _decided.set(True)
    try:
        yield
    finally:
        _decided.reset(token)
