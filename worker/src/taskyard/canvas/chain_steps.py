"""From the tasks of a chain to the steps that are sent: spliced, upgraded to chords, linked by results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from taskyard.canvas.chains import _chain
from taskyard.canvas.chord_bodies import has_splittable_body
from taskyard.canvas.chords import chord
from taskyard.canvas.groups import group, is_empty_group, maybe_unroll_group
from taskyard.canvas.signatures import maybe_signature

if TYPE_CHECKING:
    from taskyard.app import App


def flatten(tasks: Iterable[Any], app: App, *, clone: bool) -> list[Any]:
    """The steps in order: chains spliced, groups of one unrolled, empty groups left out unless they are all.

    With `clone`, chords are split from what their bodies chain (`chord.split_body`); freezing leaves the
    chain as it is written.
    """
    pending = list(reversed(list(tasks)))
    steps: list[Any] = []
    empty = None
    while pending:
        task = pending.pop()
        if not hasattr(task, "freeze"):
            task = maybe_signature(task, app=app)
        if isinstance(task, group):
            task = maybe_unroll_group(task)
        if isinstance(task, _chain):
            pending.extend(reversed(task.clone().tasks if clone else task.tasks))
        elif is_empty_group(task):
            empty = task if empty is None else empty
        elif clone and has_splittable_body(task):
            pending.extend(reversed(task.split_body()))
        else:
            steps.append(task)
    return steps if steps or empty is None else [empty]


class Links:
    """Freezes steps from the last to the first and links the results to their parents."""

    def __init__(self, app: App, root_id: str | None, errbacks: list[Any]) -> None:
        self._app = app
        self._root_id = root_id
        self._errbacks = errbacks
        #: Last first.
        self.tasks: list[Any] = []
        self.results: list[Any] = []
        #: The first result of what follows, still without a parent.
        self._open: Any = None

    def put_before(self, task: Any, **as_last: Any) -> None:
        """Put a step before those that are here; `as_last` is for freezing the last one.

        Only the last carries the chord and group that the whole chain is part of.
        """
        is_last = not self.tasks
        if isinstance(task, group) and not is_last:
            task = self._upgraded(task)
        result = task.freeze(root_id=self._root_id, **(as_last if is_last else {}))
        if self.tasks and self._open is not None and not self._open.parent:
            self._open.parent = result
        for errback in self._errbacks:
            task.link_error(errback)
            if isinstance(task, chord) and task.body:
                task.body.link_error(errback)  # where a failure of the header looks for it
        self.tasks.append(task)
        self.results.append(result)
        self._open = result
        if isinstance(task, chord):
            self._app.backend.ensure_chords_allowed()
            # The result is the body's; its first parent is the header's, and that comes after our step.
            while self._open.parent:
                self._open = self._open.parent

    def _upgraded(self, header: Any) -> Any:
        """The group as header of a chord whose body is the step after it."""
        body, body_result = self.tasks.pop(), self.results.pop()
        task_id = getattr(body_result, "task_id", None)  # a group's result has none
        options = {"task_id": task_id} if task_id is not None else {}
        upgraded = chord(header, body=body, root_id=self._root_id, app=self._app, **options)
        # What follows the body has its result for a parent, which will be the chord's own.
        node = self.results[-1] if self.results else None
        while node is not None and node.parent is not body_result:
            node = node.parent
        if node is not None:
            node.parent = None
        self._open = node
        return upgraded
