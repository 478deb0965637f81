"""Results: what callers hold, and the stores behind it, in Celery's own formats."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.result.eager import EagerResult
    from taskyard.result.groups import GroupResult
    from taskyard.result.joining import (
        allow_join_result,
        assert_will_not_block,
        denied_join_result,
        task_join_will_block,
    )
    from taskyard.result.opening import open_backend
    from taskyard.result.result import AsyncResult
    from taskyard.result.sets import ResultSet
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

#: Name -> the module that has it: workers need few of them, and programs that only send none.
_PLACES = {
    "AsyncResult": "result",
    "EagerResult": "eager",
    "GroupResult": "groups",
    "ResultSet": "sets",
    **dict.fromkeys(("ResultBase", "result_from_tuple"), "tuples"),
    "open_backend": "opening",
    **dict.fromkeys(("allow_join_result", "assert_will_not_block"), "joining"),
    **dict.fromkeys(("denied_join_result", "task_join_will_block"), "joining"),
}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"taskyard.result.{place}"), name)
    return found
