"""The rules of `|`: what `a | b` is for each kind of a and b, and the same for many in one pass.

A group followed by a task is a chord; what follows a chord joins its body; chains are spliced.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any

from taskyard.canvas.chains import _chain
from taskyard.canvas.chords import chord
from taskyard.canvas.groups import group, is_empty_group, maybe_unroll_group
from taskyard.canvas.signatures import Signature


def compose(left: Signature, right: Any) -> Any:
    """`left | right`; NotImplemented if right is no signature."""
    if not isinstance(right, Signature):
        return NotImplemented
    if isinstance(left, _chain):
        return _after_chain(left, right)
    if isinstance(left, group):
        return left if is_empty_group(right, look=False) else chord(left, body=right, app=left._app)
    if isinstance(left, chord) and not isinstance(right, _chain):
        single = maybe_unroll_group(right) if isinstance(right, group) else right
        if not isinstance(single, group):
            joined = left.clone()
            joined.body = joined.body | single
            return joined
    if isinstance(right, _chain):
        return _chain([left, *right.unchain_tasks()], app=left._app)
    if isinstance(right, group):
        return _chain(left, maybe_unroll_group(right), app=left._app)
    return _chain(left, right, app=left._app)


def _after_chain(left: Any, right: Signature) -> Any:
    if is_empty_group(right):
        return left
    if isinstance(right, group):
        right = maybe_unroll_group(right)
    if isinstance(right, _chain):
        return reduce(or_, right.unchain_tasks(), left)
    last = left.tasks[-1] if left.tasks else None
    if isinstance(right, group):
        tasks = left.unchain_tasks()
        if not tasks:
            return right
        if isinstance(last, chord):
            tasks[-1].body = tasks[-1].body | right
            return type(left)(tasks, app=left._app)
        return type(left)([*tasks, right], app=left._app)
    if isinstance(last, group):
        joined = left.clone()
        joined.tasks[-1] = chord(joined.tasks[-1], right, app=left._app)
        if len(joined.tasks) > 1 and isinstance(joined.tasks[-2], chord):
            following = joined.tasks.pop()
            joined.tasks[-1].body = joined.tasks[-1].body | following
        return joined
    if isinstance(last, chord) and not isinstance(right, chord):
        joined = left.clone()
        joined.tasks[-1].body = joined.tasks[-1].body | right
        return joined
    return type(left)([*left.unchain_tasks(), right], app=left._app)


def fold(tasks: Iterable[Any]) -> Any:
    """`a | b | c ...` by the same rules, in time linear in their number."""
    steps: list[Any] = []
    pending = list(tasks)
    if not all(isinstance(task, Signature) for task in pending):
        return reduce(or_, pending, _chain())
    for position, task in enumerate(pending):
        # As with `|`, the last one becomes part of the chain itself, all others as copies.
        instead = _add(steps, task, copy=position != len(pending) - 1)
        if instead is not None:
            return reduce(or_, pending[position + 1 :], instead)
    return _chain(steps)


def _add(steps: list[Any], task: Any, *, copy: bool) -> Any:
    """Add a step in place; what is returned takes the place of the whole chain."""
    if is_empty_group(task):
        return None
    if isinstance(task, group):
        task = maybe_unroll_group(task)
    if isinstance(task, _chain):
        inner = task.unchain_tasks()
        for position, each in enumerate(inner):
            instead = _add(steps, each, copy=copy or position != len(inner) - 1)
            if instead is not None:
                return reduce(or_, inner[position + 1 :], instead)
        return None
    if not isinstance(task, Signature):
        raise TypeError(f"a chain is of signatures, not of {type(task).__name__}")
    last = steps[-1] if steps else None
    if isinstance(task, group) and not steps:
        return task
    if isinstance(last, chord) and not isinstance(task, chord):
        last.body = last.body | task
    elif isinstance(last, group) and not isinstance(task, group):
        steps[-1] = chord(last, task.clone() if copy else task)
    else:
        steps.append(task.clone() if copy else task)
    return None
