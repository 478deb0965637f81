"""Results: what callers hold, and the stores behind it, in Celery's own formats."""

from taskyard.result.eager import EagerResult
from taskyard.result.joining import (
    allow_join_result,
    assert_will_not_block,
    denied_join_result,
    task_join_will_block,
)
from taskyard.result.result import AsyncResult
from taskyard.result.sets import GroupResult, ResultSet
from taskyard.result.tuples import ResultBase, result_from_tuple

__all__ = [
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "ResultBase",
    "ResultSet",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "open_backend",
    "result_from_tuple",
    "task_join_will_block",
]


def __getattr__(name: str) -> object:
    # The stores are more than most programs need: they are imported when one is opened.
    if name == "open_backend":
        from taskyard.result.opening import open_backend

        return open_backend
    raise AttributeError(f"module 'taskyard.result' has no attribute {name!r}")
