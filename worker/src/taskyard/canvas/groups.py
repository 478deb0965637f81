"""group: tasks that run at the same time; its result holds all of theirs."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

from taskyard.canvas.group_sending import GroupSending
from taskyard.canvas.lazy_list import LazyList, replayable
from taskyard.canvas.signatures import (
    FIXED_OPTIONS,
    Signature,
    current_app,
    item,
    maybe_signature,
)
from taskyard.canvas.stamping import stamp_tasks
from taskyard.canvas.text import without_repeated
from taskyard.message.identity import new_id
from taskyard.result.groups import GroupResult

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.canvas.stamping import StampingVisitor


@Signature.register_type()
class group(GroupSending, Signature):  # noqa: N801  Celery's name
    """`group(a, b)`, `group([a, b])` or `group(a(i) for i in numbers)`; options hold for all its tasks."""

    tasks = item("kwargs.tasks", "The tasks.")

    def __init__(self, *tasks: Any, **options: Any) -> None:
        members: Any = tasks
        if len(tasks) == 1:
            members = tasks[0]
            if isinstance(members, group):
                members = members.tasks
            elif isinstance(members, Signature):
                members = [members.clone()]
            members = replayable(members)
        super().__init__("celery.group", (), {"tasks": members}, **options)
        self.subtask_type = "group"

    @classmethod
    def from_dict(cls, d: dict[str, Any], app: App | None = None) -> Signature:
        """The group that a dict describes; its `tasks` there become signatures too."""
        tasks = d["kwargs"]["tasks"]
        kind = LazyList if isinstance(tasks, LazyList) else tuple if isinstance(tasks, tuple) else list
        d["kwargs"]["tasks"] = made = kind(maybe_signature(task, app=app) for task in tasks)
        return cls(made, app=app, **d["options"])

    def __call__(self, *partial_args: Any, **options: Any) -> Any:
        """Send it with these arguments before those of each task."""
        return self.apply_async(partial_args, **options)

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        return bool(self.tasks)

    def __repr__(self) -> str:
        if not self.tasks:
            return "group(<empty>)"
        return without_repeated(self.tasks[0]["task"], f"group({self.tasks!r})")

    @property
    def app(self) -> App:
        """Its own app, else that of its first task."""
        app = self._app
        if app is None:
            try:
                app = self.tasks[0].app
            except (LookupError, AttributeError):
                app = None
        return app if app is not None else current_app()

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> group:
        """Delay the tasks by `start`, `start + step` ... seconds, at most `stop`."""
        for position, task in enumerate(self.tasks):
            delay = start + position * step
            task.set(countdown=delay if stop is None else min(delay, stop))
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Set it for all tasks."""
        for task in self.tasks:
            task.set_immutable(immutable)

    def link(self, sig: Any) -> Any:
        """Link to the first task; the linked one does not get its result, which would be one of many."""
        return self.tasks[0].link(sig.clone().set(immutable=True))

    def link_error(self, sig: Any) -> Any:
        """Link a copy to each task; returns the copies."""
        errback = maybe_signature(sig)
        return tuple(task.link_error(errback.clone()) for task in self.tasks)

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Any:
        """Stamp each task."""
        given = None if visitor is None else (visitor.on_group_start(self, **headers) or {})
        stamps = self._stamps(given, append_stamps, headers)
        self.stamp_links(visitor, append_stamps, **stamps)
        stamp_tasks(self, visitor, append_stamps, stamps)
        if visitor is not None:
            visitor.on_group_end(self, **stamps)

    # -- sending
    def apply_async(  # type: ignore[override]  # options of its own before those of the tasks
        self,
        args: Any = None,
        kwargs: Any = None,
        add_to_parent: bool = True,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        **options: Any,
    ) -> Any:
        """Send all tasks; the GroupResult."""
        if link is not None:
            raise TypeError("Cannot add link to group: use a chord")
        if link_error is not None:
            raise TypeError("Cannot add link to group: do that on individual tasks")
        app = self.app
        if app.conf.task_always_eager:
            return self.apply(args, kwargs, **options)
        if not self.tasks:
            return self.freeze()
        options, group_id, root_id = self._freeze_gid(options)
        prepared = self._prepared(self.tasks, (), group_id, root_id, app)
        results = list(self._send(prepared, app, producer, args=args, kwargs=kwargs, **options))
        result: Any = app.GroupResult(group_id, results)
        if len(results) == 1 and isinstance(results[0], GroupResult):
            # A chain that ends in a group is the only task: its group is what the caller wants.
            result = results[0]
        parent = app.current_worker_task
        if add_to_parent and parent:
            parent.add_trail(result)
        return result

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run all tasks here, one after the other."""
        app = self.app
        if not self.tasks:
            return self.freeze()
        options, group_id, root_id = self._freeze_gid(options)
        prepared = self._prepared(self.tasks, (), group_id, root_id, app, freeze=False)
        return app.GroupResult(
            group_id, [task.apply(args=args, kwargs=kwargs, **options) for task, _, _ in prepared]
        )

    def _freeze_gid(self, options: dict[str, Any]) -> tuple[dict[str, Any], str, str | None]:
        """The options for the tasks, the group's id (its task_id) and the root's id."""
        own = self.options
        merged = {**own, **{n: v for n, v in options.items() if n not in FIXED_OPTIONS or n not in own}}
        merged["group_id"] = group_id = merged.pop("task_id", None) or new_id()
        return merged, group_id, merged.get("root_id")

    def _prepared(
        self,
        tasks: Iterable[Any],
        partial_args: Iterable[Any],
        group_id: str,
        root_id: str | None,
        app: App,
        *,
        freeze: bool = True,
    ) -> Iterator[tuple[Any, Any, str]]:
        """Copies of the tasks, those of groups within among them, with their results."""
        index = count()
        for task in members(tasks, app):
            if partial_args and not task.immutable:
                task.args = (*partial_args, *task.args)
            result = None
            if freeze:
                result = task.freeze(group_id=group_id, root_id=root_id, group_index=next(index))
            yield task, result, group_id

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
        """Fix the ids of the group and its tasks, flat from now on; the GroupResult."""
        found = self._freeze_group_tasks(_id, group_id, chord, root_id, parent_id, group_index)
        return self.app.GroupResult(*found)

    def _freeze_group_tasks(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> tuple[str, list[Any]]:
        """The group's id and its tasks' results; of a generator neither is taken before it is asked for."""
        options = self.options
        if "task_id" not in options:
            options["task_id"] = new_id()
        if group_id:
            options["group_id"] = group_id
        if chord:
            options["chord"] = chord
        if group_index is not None:
            options["group_index"] = group_index
        root_id = options.setdefault("root_id", root_id)
        parent_id = options.setdefault("parent_id", parent_id)

        def frozen() -> Iterator[tuple[Any, Any]]:
            for index, task in enumerate(members(tasks, self._app)):
                yield (
                    task,
                    task.freeze(
                        group_id=group_id,
                        chord=chord,
                        root_id=root_id,
                        parent_id=parent_id,
                        group_index=index,
                    ),
                )

        tasks = self.tasks
        if isinstance(tasks, LazyList):
            pairs = LazyList(frozen())
            self.tasks = LazyList(task for task, _ in pairs)
            return options["task_id"], LazyList(result for _, result in pairs)
        both = list(frozen())
        flat = [task for task, _ in both]
        if isinstance(tasks, list):
            tasks[:] = flat
        else:
            self.tasks = flat
        return options["task_id"], [result for _, result in both]


def members(tasks: Iterable[Any], app: App | None) -> Generator[Any]:
    """Copies of the tasks; groups give their own members, empty chains nothing."""
    from taskyard.canvas.chains import _chain

    for each in tasks:
        task = maybe_signature(each, app=app, clone=True)
        if isinstance(task, group):
            yield from members(task.tasks, app)
        elif not (isinstance(task, _chain) and not task.tasks):
            yield task


def maybe_unroll_group(group: Any) -> Any:
    """The task of a group that has only one, else the group."""
    tasks = group.tasks
    try:
        size = len(tasks)
    except TypeError:
        try:
            size = tasks.__length_hint__()
        except (AttributeError, TypeError):
            return group
        return next(iter(tasks)) if size == 1 else group
    return tasks[0] if size == 1 else group


def is_empty_group(task: Any, *, look: bool = True) -> bool:
    """Whether it is a group without tasks; a generator is asked for its first if it may be looked at."""
    if not isinstance(task, group):
        return False
    if not look and isinstance(task.tasks, LazyList) and not task.tasks.is_complete:
        return False
    return not task.tasks
