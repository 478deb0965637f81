"""What a canvas amounts to: how many parts report to a chord, and what an eager run has returned."""

from __future__ import annotations

from typing import Any

from taskyard.canvas.lazy_list import listed
from taskyard.canvas.signatures import Signature
from taskyard.result.joining import allow_join_result


def value_of(result: Any, *, propagate: bool = True) -> Any:
    """What an eager run returned; nothing is waited for, so it may be asked for within a task."""
    with allow_join_result():
        return result.get(propagate=propagate)


def chord_size_of(task: Any) -> int:
    """How many of the task's parts report to the chord whose header it stands in."""
    from taskyard.canvas.chains import _chain
    from taskyard.canvas.chords import chord
    from taskyard.canvas.groups import group

    if isinstance(task, dict) and not isinstance(task, Signature):
        task = Signature.from_dict(task)
    if isinstance(task, group):
        return sum(chord_size_of(each) for each in getattr(task.tasks, "tasks", task.tasks))
    if isinstance(task, _chain):
        # The last of a chain reports; what is empty at its end is not sent.
        return next((size for each in reversed(task.tasks) if (size := chord_size_of(each))), 0)
    if isinstance(task, chord):
        return chord_size_of(task.body)
    if isinstance(task, Signature):
        return 1
    return len(listed(task))
