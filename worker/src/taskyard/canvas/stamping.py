"""Stamps: named values that travel in the headers of every task of a canvas, and visitors that give them.

A stamp is an option of the signature whose name is listed in the option `stamped_headers`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.canvas.signatures import Signature

Stamps = dict[str, Any]


class StampingVisitor(ABC):
    """Walks a canvas; what its methods return becomes stamps of what they were called for.

    Each gets the stamps given so far as keywords.  A key `stamped_headers` in the returned dict names those
    of its keys that are stamps; without it all are.
    """

    @abstractmethod
    def on_signature(self, sig: Signature, **headers: Any) -> Stamps | None:
        """A single task."""

    def on_group_start(self, group: Any, **headers: Any) -> Stamps | None:
        """A group, before its tasks."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:  # noqa: B027  optional
        """A group, after its tasks."""

    def on_chain_start(self, chain: Any, **headers: Any) -> Stamps | None:
        """A chain, before its tasks."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:  # noqa: B027  optional
        """A chain, after its tasks."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> Stamps | None:
        """A chord, before the tasks of its header; by default as for a group of them."""
        from taskyard.canvas.groups import group

        if not isinstance(sig.tasks, group):
            sig.tasks = group(sig.tasks)
        return self.on_group_start(sig.tasks, **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """A chord, after the tasks of its header."""
        self.on_group_end(sig.tasks, **header)

    def on_chord_body(self, sig: Any, **header: Any) -> Stamps | None:
        """A chord, before its body."""
        return {}

    def on_callback(self, callback: Signature, **header: Any) -> Stamps | None:
        """A linked task."""
        return {}

    def on_errback(self, errback: Signature, **header: Any) -> Stamps | None:
        """A task linked to failures."""
        return {}


def merge_stamps(into: Stamps, more: Stamps | None, *, append: bool = True) -> None:
    """Add `more` to `into`; of a name in both, lists are joined.

    Other values of such a name are collected in a list with `append`, and stay as they are without it.
    """
    for name, value in (more or {}).items():
        if name not in into:
            into[name] = value
            continue
        present = into[name]
        if isinstance(present, dict):
            into[name] = present = dict(present)
            merge_stamps(present, value, append=append)
            continue
        if append and isinstance(present, (int, float, str)):
            into[name] = present = [present]
        if isinstance(present, list) and isinstance(value, list):
            into[name] = [*present, *value]  # a new one: the present list may be the caller's
        elif append:
            into[name] = [*(present or ()), value]


def combine_stamps(
    given: Stamps, visitor: Stamps | None, own: Stamps | None, *, append: bool = False
) -> Stamps:
    """The stamps of a signature: those given to it, the visitor's, and its own options that are stamps."""
    stamps = dict(given)
    stamps.setdefault("stamped_headers", list(given))
    if visitor is not None:
        if "stamped_headers" not in visitor:
            visitor["stamped_headers"] = list(visitor)
        merge_stamps(stamps, visitor, append=append)
    if own is not None:
        names = {*stamps["stamped_headers"], *own.get("stamped_headers", ())}
        stamps["stamped_headers"] = list(names)
        merge_stamps(stamps, {name: value for name, value in own.items() if name in names}, append=append)
    stamps["stamped_headers"] = list(dict.fromkeys(stamps["stamped_headers"]))
    return stamps


def stamp_tasks(
    owner: Any, visitor: StampingVisitor | None, append_stamps: bool, stamps: dict[str, Any]
) -> None:
    """Stamp the tasks of a group, those of a generator when it is their turn."""

    from taskyard.canvas.lazy_list import LazyList
    from taskyard.canvas.signatures import maybe_signature

    def stamped(each: Any) -> Any:
        task = maybe_signature(each, app=owner._app)
        task.stamp(visitor, append_stamps, **stamps)
        return task

    tasks = owner.tasks
    if isinstance(tasks, LazyList):
        tasks.map(stamped)
    elif isinstance(tasks, list):
        tasks[:] = [stamped(task) for task in tasks]
    else:
        owner.tasks = [stamped(task) for task in tasks]
