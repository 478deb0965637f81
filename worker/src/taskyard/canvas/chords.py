"""chord: a header of tasks that run at the same time, and a body that gets the list of their results."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taskyard.canvas.chord_sending import ChordSending
from taskyard.canvas.groups import group
from taskyard.canvas.lazy_list import LazyList, listed
from taskyard.canvas.parts import chord_size_of
from taskyard.canvas.signatures import (
    Signature,
    current_app,
    item,
    maybe_signature,
    signature,
)
from taskyard.canvas.stamping import stamp_tasks
from taskyard.canvas.text import without_repeated

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.canvas.stamping import StampingVisitor


@Signature.register_type(name="chord")
class _chord(ChordSending, Signature):  # type: ignore[misc]  # noqa: N801  Celery's name
    """`chord([a, b], body)` or `chord([a, b])(body)`."""

    tasks = item("kwargs.header", "The header: a group or a list of tasks.")
    body = item("kwargs.body", "What is sent with the list of the header's results.")

    def __init__(
        self,
        header: Any,
        body: Any = None,
        task: str = "celery.chord",
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        app: App | None = None,
        **options: Any,
    ) -> None:
        own = kwargs or {"kwargs": {}}
        super().__init__(
            task,
            args or (),
            {**own, "header": _header(header, app), "body": maybe_signature(body, app=app)},
            app=app,
            **options,
        )
        self.subtask_type = "chord"

    @classmethod
    def from_dict(cls, d: dict[str, Any], app: App | None = None) -> Signature:
        """The chord that a dict describes."""
        options = dict(d)
        kwargs = dict(options.pop("kwargs"))
        header, body = kwargs.pop("header", None), kwargs.pop("body", None)
        return cls(header, body, app=app, kwargs=kwargs, **options)

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Send it, with this body."""
        return self.apply_async((), {"body": body} if body else {}, **options)

    def __length_hint__(self) -> int:
        return sum(chord_size_of(task) for task in getattr(self.tasks, "tasks", self.tasks))

    @classmethod
    def _descend(cls, sig: Any) -> int:
        return chord_size_of(sig)

    def __repr__(self) -> str:
        body = self.body
        if not body:
            return f"<chord without body: {self.tasks!r}>"
        from taskyard.canvas.chains import _chain

        if isinstance(body, _chain):
            first, rest = body.tasks[0], _chain(body.tasks[1:], app=self._app)
            text = f"%({first.reprcall(self.tasks)} | {rest!r})"
            return without_repeated(first["task"], text)
        return "%" + without_repeated(body["task"], body.reprcall(self.tasks))

    @cached_property
    def app(self) -> App:
        """Its own app, else that of the first task of the header, else the body's."""
        return self._find_app(self.body)

    def _find_app(self, body: Any) -> App:
        app = self._app
        if app is None:
            tasks = getattr(self.tasks, "tasks", self.tasks)
            if tasks:
                app = _app_of(tasks[0])
            if app is None and body is not None:
                app = _app_of(body)
        return app if app is not None else current_app()

    # -- variants
    def clone(self, *args: Any, **kwargs: Any) -> Any:
        """A copy with a copy of the body."""
        copy = super().clone(*args, **kwargs)
        if copy.kwargs.get("body") is not None:
            copy.body = maybe_signature(copy.body, clone=True)
        return copy

    def set_immutable(self, immutable: bool) -> None:
        """Set it for the header's tasks."""
        for task in self.tasks:
            task.set_immutable(immutable)

    def link(self, callback: Any) -> Any:
        """Link to the body."""
        self.body.link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """Link to the body; with `task_allow_error_cb_on_chord_header` to each task of the header too."""
        errback = maybe_signature(errback)
        header = listed(self.tasks)
        if self.app.conf.task_allow_error_cb_on_chord_header:
            for task in header:
                task.link_error(errback.clone(immutable=True))
        else:
            from taskyard.errors import CPendingDeprecationWarning

            warnings.warn(
                "task_allow_error_cb_on_chord_header is False: an error link of a chord is called once, for "
                "its body, whatever task of the header fails; a later version links it to each of them",
                CPendingDeprecationWarning,
                stacklevel=2,
            )
        for task in header:
            if isinstance(task, _chord):
                task.link_error(errback)
        self.body.link_error(errback)
        return errback

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Any:
        """Stamp the header's tasks, then the body."""
        given = None if visitor is None else (visitor.on_chord_header_start(self, **headers) or {})
        stamps = self._stamps(given, append_stamps, headers)
        self.stamp_links(visitor, append_stamps, **stamps)
        stamp_tasks(self.tasks if isinstance(self.tasks, group) else self, visitor, append_stamps, stamps)
        if visitor is None:
            return
        visitor.on_chord_header_end(self, **stamps)
        if self.body is not None:
            given = visitor.on_chord_body(self, **stamps) or {}
            stamps = self._stamps(given, append_stamps, stamps)
            self.body.stamp(visitor, append_stamps, **stamps)

    # -- ids
    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Fix the ids of header and body; the body's result, whose first parent is the header's."""
        if not isinstance(self.tasks, group):
            self.tasks = group(self.tasks, app=self.app)
        header_result = self.tasks.freeze(parent_id=parent_id, root_id=root_id, chord=self.body)
        self.id = self.tasks.id
        if self.body is None:
            return None
        result = self.body.freeze(
            _id, root_id=root_id, chord=chord, group_id=group_id, group_index=group_index
        )
        _first_ancestor(result).parent = header_result
        return result

    def split_body(self) -> list[Any]:
        """`chord(header, a | b | c)` as `chord(header, a), b, c`, which is the same with smaller messages."""
        first = self.clone()
        tasks = first.body.unchain_tasks()
        inherited = {
            name: value for name, value in first.body.options.items() if name not in _OPTIONS_OF_THE_CHAIN
        }
        first.body = tasks[0].clone(**inherited)
        return [first, *tasks[1:]]


#: The class; its own name leaves `chord` free for arguments.
chord = _chord

#: Options that a chain uses itself; all others are for its first task.
_OPTIONS_OF_THE_CHAIN = frozenset(
    ["chord", "group_id", "group_index", "link", "link_error", "parent_id", "root_id", "task_id"]
)


def _header(tasks: Any, app: App | None) -> Any:
    """The tasks of a header, however they are given."""
    from taskyard.canvas.chains import _chain

    if isinstance(tasks, dict):
        tasks = signature(tasks, app=app)
    if isinstance(tasks, (group, _chain)):
        return tasks.tasks
    if isinstance(tasks, Signature):
        return [tasks]
    made = (signature(task, app=app) for task in tasks)
    return LazyList(made) if isinstance(tasks, Iterator) else list(made)


def _app_of(task: Any) -> App | None:
    """The app that a task is bound to, itself or by its own tasks."""
    app: App | None = task._app
    if app is None:
        try:
            app = task.app
        except AttributeError:  # its first task is still a plain dict
            return None
        if app is current_app():
            return None
    return app


def _first_ancestor(result: Any) -> Any:
    seen = set()
    while result.parent is not None:
        if result.id in seen:
            raise RuntimeError("Recursive result parents")
        seen.add(result.id)
        result = result.parent
    return result
