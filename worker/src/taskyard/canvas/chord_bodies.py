"""Bodies of chords: the links they take over, and what of them need not travel twice."""

from __future__ import annotations

from typing import Any

from taskyard.canvas.groups import group
from taskyard.canvas.lazy_list import listed
from taskyard.canvas.signatures import maybe_signature


def has_splittable_body(task: Any) -> bool:
    """Whether it is a chord whose body is a chain that begins with a task; a group there would be one chord
    for each.
    """
    from taskyard.canvas.chains import _chain
    from taskyard.canvas.chords import _chord

    if not isinstance(task, _chord):
        return False
    body = task.body
    return isinstance(body, _chain) and bool(body.tasks) and not isinstance(body.tasks[0], group)


def drop_redundant_bodies(sig: Any) -> None:
    """Take the body from the header's tasks of chords that are not sent yet: the chord holds it too, and
    `run` gives it to them again.
    """
    from taskyard.canvas.chains import _chain
    from taskyard.canvas.chords import _chord

    if isinstance(sig, _chord):
        drop_body(sig.tasks)
        drop_redundant_bodies(sig.tasks)
        if sig.body is not None:
            drop_redundant_bodies(sig.body)
    elif isinstance(sig, (group, _chain)):
        for task in sig.tasks:
            drop_redundant_bodies(task)


def drop_body(sig: Any) -> None:
    """Take the body from what reports to the chord."""
    from taskyard.canvas.chains import _chain
    from taskyard.canvas.chords import _chord

    sig.options.pop("chord", None)
    if isinstance(sig, group):
        for task in sig.tasks:
            drop_body(task)
    elif isinstance(sig, _chain) and sig.tasks:
        drop_body(sig.tasks[-1])
    elif isinstance(sig, _chord) and sig.body is not None:
        drop_body(sig.body)


def with_links(body: Any, options: dict[str, Any]) -> Any:
    """The body, or a copy of it with the links of the chord.

    An error link is added where the failure of the header looks for it: at the body itself, or at each task
    of a group.
    """
    callbacks, errbacks = listed(options.get("link")), listed(options.get("link_error"))
    if callbacks or errbacks:
        body = deep_clone(body)
    for callback in callbacks:
        callback = deep_clone(maybe_signature(callback, app=body._app))
        if isinstance(body, group) and not body.tasks:
            body.append_to_list_option("link", callback)
        else:
            body.link(callback)
    for errback in errbacks:
        if isinstance(body, group):
            link_error_within(body, maybe_signature(errback, app=body._app))
        else:
            body.append_to_list_option("link_error", errback)
    return body


def link_error_within(sig: Any, errback: Any, *, runs_as_group: bool = True) -> None:
    """Link to each task of a group, to the body of a chord.

    A group with an error link of its own would put that in place of its tasks' when it runs.
    """
    from taskyard.canvas.chords import _chord

    if isinstance(sig, group):
        if runs_as_group and sig.options.get("link_error") is not None:
            sig.append_to_list_option("link_error", errback.clone())
        else:
            for task in sig.tasks:
                link_error_within(task, errback, runs_as_group=False)
    elif isinstance(sig, _chord):
        link_error_within(sig.body, errback)
    else:
        sig.link_error(errback.clone())


def deep_clone(sig: Any) -> Any:
    """A copy that shares no signature which `link` changes."""
    from taskyard.canvas.chords import _chord

    copy = maybe_signature(sig, clone=True)
    if isinstance(copy, group):
        copy.tasks = [deep_clone(task) for task in copy.tasks]
    elif isinstance(copy, _chord):
        copy.body = deep_clone(copy.body)
    return copy
