"""How the tasks of a group are sent: many in one write, the size of a chord before its last one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.app import App

#: The most tasks of a group that are sent in one write.
_TASKS_A_WRITE = 500
#: The longest that a task waits for the next ones, where a generator takes its time.
_LONGEST_WAIT_SECONDS = 0.05


class GroupSending:
    """Mixed into group."""

    def _send(
        self,
        prepared: Iterable[tuple[Any, Any, str]],
        app: App,
        producer: Any,
        *,
        chord: Any = None,
        add_to_parent: Any = None,
        group_index: int | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        from taskyard.canvas.parts import chord_size_of

        size = 0
        if producer is not None:
            options["producer"] = producer
        given = {name: value for name, value in options.items() if value is not None}
        args, kwargs = given.pop("args", None), given.pop("kwargs", None)
        batch: list[Any] = []
        written = monotonic()
        for (task, result, group_id), is_last in with_last(prepared):
            body = chord if chord is not None else task.options.get("chord")
            size += chord_size_of(task)
            if body is not None and is_last:
                # Known only now; the chord cannot be complete before its last task was sent.
                app.backend.set_chord_size(group_id, size)
            own = given if body is None else {**given, "chord": body}
            if producer is None and task.can_be_sent_with_others:
                batch.append((task.task, *task.call_options(args, kwargs, own)))
            else:
                task.apply_async(args, kwargs, add_to_parent=False, **own)
            if batch and (
                is_last or len(batch) >= _TASKS_A_WRITE or monotonic() - written > _LONGEST_WAIT_SECONDS
            ):
                app.send_tasks(batch, add_to_parent=False)
                batch.clear()
                written = monotonic()
            yield result


def with_last(items: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Each item and whether it is the last, looking ahead by one."""
    nothing = object()
    current: Any = nothing
    for following in items:
        if current is not nothing:
            yield current, False
        current = following
    if current is not nothing:
        yield current, True
