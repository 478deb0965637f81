"""chain: tasks one after the other, each with the result of the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from taskyard.canvas.chord_bodies import drop_redundant_bodies, has_splittable_body
from taskyard.canvas.groups import is_empty_group
from taskyard.canvas.lazy_list import listed, replayable
from taskyard.canvas.parts import value_of
from taskyard.canvas.signatures import Signature, current_app, item, maybe_signature
from taskyard.canvas.text import without_repeated

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.canvas.stamping import StampingVisitor


@Signature.register_type(name="chain")
class _chain(Signature):  # noqa: N801  Celery's name
    """What `a | b` makes; `chain` is for making one of a list."""

    tasks = item("kwargs.tasks", "The tasks in their order.")

    def __init__(self, *tasks: Any, **options: Any) -> None:
        steps: Any = replayable(tasks[0]) if len(tasks) == 1 and _is_list(tasks[0]) else tasks
        super().__init__("celery.chain", (), {"tasks": steps}, **options)
        self.subtask_type = "chain"
        #: What the last freeze gave: tasks and results, last first.
        self._frozen: tuple[list[Any], list[Any]] | None = None

    @classmethod
    def from_dict(cls, d: dict[str, Any], app: App | None = None) -> Signature:
        """The chain that a dict describes."""
        tasks = d["kwargs"]["tasks"]
        if tasks:
            tasks = d["kwargs"]["tasks"] = [maybe_signature(task, app=app) for task in tasks]
        return cls(tasks, app=app, **d["options"])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send it."""
        return self.apply_async(args, kwargs) if self.tasks else None

    def __repr__(self) -> str:
        if not self.tasks:
            return f"<{type(self).__name__}@{id(self):#x}: empty>"
        return without_repeated(self.tasks[0]["task"], " | ".join(map(repr, self.tasks)))

    @property
    def app(self) -> App:
        """Its own app, else that of its first task."""
        app = self._app
        if app is None:
            try:
                app = self.tasks[0].app
            except (LookupError, AttributeError):  # empty, or its first task is still a plain dict
                app = None
        return app if app is not None else current_app()

    def clone(self, *args: Any, **kwargs: Any) -> Any:
        """A copy with copies of its tasks."""
        copy = super().clone(*args, **kwargs)
        copy.kwargs["tasks"] = [
            maybe_signature(task, app=self._app, clone=True) for task in copy.kwargs["tasks"]
        ]
        return copy

    def unchain_tasks(self) -> list[Any]:
        """Copies of its tasks, with its links at the last and its error links at each of them."""
        tasks = [task.clone() for task in self.tasks]
        for callback in listed(self.options.get("link")):
            tasks[-1].link(callback)
        for errback in listed(self.options.get("link_error")):
            for task in tasks:  # a copy each: they may be stamped differently
                task.link_error(deepcopy(errback))
        return tasks

    def split_chords(self) -> None:
        """Split the chords in it, in place (`chord.split_body`)."""
        pending, tasks = list(reversed(self.tasks)), []
        while pending:
            task = pending.pop()
            if isinstance(task, _chain):
                task = task.clone()
                task.split_chords()
            if has_splittable_body(task):
                pending.extend(reversed(task.split_body()))
            else:
                tasks.append(task)
        self.tasks = tasks

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Any:
        """Stamp each task."""
        given = None if visitor is None else (visitor.on_chain_start(self, **headers) or {})
        stamps = self._stamps(given, append_stamps, headers)
        self.stamp_links(visitor, append_stamps, **stamps)
        for task in self.tasks:
            task.stamp(visitor, append_stamps, **stamps)
        if visitor is not None:
            visitor.on_chain_end(self, **stamps)

    # -- sending
    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """Send the first task with the others in its message; the result of the last."""
        app = self.app
        if app.conf.task_always_eager:
            from taskyard.result import allow_join_result

            with allow_join_result():
                return self.apply(args, kwargs, **options)
        return self.run(args, kwargs, app=app, **{**self.options, **options})

    def run(
        self,
        args: Any = None,
        kwargs: Any = None,
        group_id: str | None = None,
        chord: Any = None,
        task_id: str | None = None,
        link: Any = None,
        link_error: Any = None,
        producer: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        app: App | None = None,
        group_index: int | None = None,
        **options: Any,
    ) -> Any:
        """Prepare the steps and send the first."""
        args = (*args, *self.args) if args and not self.immutable else self.args
        tasks, results = self.prepare_steps(
            args,
            kwargs or {},
            self.tasks,
            root_id,
            parent_id,
            link_error,
            app or self.app,
            task_id,
            group_id,
            chord,
            group_index=group_index,
        )
        if not results:
            return None
        if link:
            tasks[0].extend_list_option("link", link)
        first = tasks.pop()
        # A new list: the same options serve all tasks of a group.
        options["chain"] = [*(options.get("chain") or ()), *tasks]
        sent = first.apply_async(**options)
        # The result that was sent is the real one, where there is only one.
        return results[0] if tasks else sent

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run all tasks here; the result of the last."""
        from taskyard.canvas.chords import chord
        from taskyard.result.states import IGNORED, REJECTED

        given = {**self.options, **options}
        link = given.pop("link", None)
        steps = [task for task in self.tasks if not is_empty_group(task)] or list(self.tasks)[-1:]
        last: Any = None
        fargs, fkwargs = args or (), kwargs or {}
        for position, step in enumerate(steps):
            task = step.clone()
            if link and position == len(steps) - 1:
                (task.body if isinstance(task, chord) else task).extend_list_option("link", link)
            if last:
                fargs, fkwargs = (value_of(last),), None
            result = task.apply(fargs, fkwargs, **given)
            result.parent, last = last, result
            if getattr(result, "state", None) in (IGNORED, REJECTED) and not hasattr(result, "results"):
                break
        return last

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
        """Fix the ids of its tasks, `_id` for the last; the result of the last."""
        self._frozen = self.prepare_steps(
            self.args,
            self.kwargs,
            self.tasks,
            root_id,
            parent_id,
            None,
            self.app,
            _id,
            group_id,
            chord,
            clone=False,
            group_index=group_index,
        )
        return self._frozen[1][0]

    def prepare_steps(
        self,
        args: Any,
        kwargs: Any,
        tasks: Iterable[Any],
        root_id: str | None = None,
        parent_id: str | None = None,
        link_error: Any = None,
        app: App | None = None,
        last_task_id: str | None = None,
        group_id: str | None = None,
        chord_body: Any = None,
        clone: bool = True,
        group_index: int | None = None,
    ) -> tuple[list[Any], list[Any]]:
        """The tasks to send and their results, frozen, both last first as messages hold them.

        Copies of the tasks unless `clone` is False.  A group that something follows becomes a chord with it.
        """
        from taskyard.canvas.chain_steps import Links, flatten

        app = app or self.app
        steps = flatten(tasks, app, clone=clone)
        if steps and clone:
            steps = [steps[0].clone(args, kwargs), *(task.clone() for task in steps[1:])]
        elif steps:
            steps[0].args = (*args, *steps[0].args)
        links = Links(app, root_id, listed(link_error))
        for task in reversed(steps):
            links.put_before(
                task,
                _id=last_task_id,
                group_id=group_id,
                chord=chord_body,
                group_index=group_index,
            )
        self.id = links.results[0].id if links.results else last_task_id
        if clone:
            for task in links.tasks:
                drop_redundant_bodies(task)
        return links.tasks, links.results


class chain(_chain):  # noqa: N801  Celery's name
    """`chain(a, b)`, `chain([a, b])` or `chain(a(i) for i in numbers)`: the same as `a | b`.

    So it may be something else than a chain: a chord, if a group is followed by a task.
    """

    def __new__(cls, *tasks: Any, **kwargs: Any) -> Any:
        """What the tasks are when they are combined."""
        if not kwargs and tasks and (len(tasks) > 1 or _is_list(tasks[0])):
            from taskyard.canvas.composition import fold

            made = fold(tasks[0] if len(tasks) == 1 else tasks)
            if cls is chain or not isinstance(made, _chain) or isinstance(made, cls):
                return made
        return super().__new__(cls, *tasks, **kwargs)


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (Mapping, str))
