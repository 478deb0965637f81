"""Signature: a task with arguments and options that is not sent yet; the unit that canvases are made of.

It is a dict, and in JSON just that: {"task", "args", "kwargs", "options", "subtask_type", "immutable"}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import cached_property, partial
from types import GenericAlias
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from taskyard.canvas.calling import Calling
from taskyard.canvas.links import Linking
from taskyard.canvas.text import call_as_text

if TYPE_CHECKING:
    from taskyard.app import App

S = TypeVar("S", bound="type[Signature]")

#: What a group or chord relies on to be completed: set once, never by a later merge.
FIXED_OPTIONS = frozenset({"group_id", "stamped_headers"})


def item(path: str, meaning: str) -> Any:
    """A property that is an item of the dict, or of the dict under a first key (`options.task_id`)."""
    outer, _, name = path.rpartition(".")

    def read(self: dict[str, Any]) -> Any:
        return (self[outer] if outer else self).get(name)

    def write(self: dict[str, Any], value: Any) -> None:
        (self[outer] if outer else self)[name] = value

    return property(read, write, doc=meaning)


class Signature(Calling, Linking, dict[str, Any]):
    """A task's name (or the task), arguments and options.

    `immutable` keeps the arguments as they are: results of earlier tasks are not put before them.
    """

    #: Name in JSON (`subtask_type`) -> class.
    TYPES: ClassVar[dict[str, type[Signature]]] = {}

    __class_getitem__: ClassVar[Any] = classmethod(GenericAlias)

    task = item("task", "Name of the task.")
    args = item("args", "Positional arguments.")
    kwargs = item("kwargs", "Keyword arguments.")
    options = item("options", "Options of apply_async.")
    subtask_type = item("subtask_type", "Which class this is, in JSON.")
    immutable = item("immutable", "Whether the arguments are complete.")
    id = item("options.task_id", "Task id.")
    parent_id = item("options.parent_id", "Id of the task that sends this one.")
    root_id = item("options.root_id", "Id of the first task of the workflow.")

    _app: App | None = None
    _type: Any = None

    def __init__(
        self,
        task: Any = None,
        args: Iterable[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        type: Any = None,  # Celery's argument: the task itself
        subtask_type: str | None = None,
        immutable: bool = False,
        app: App | None = None,
        **more: Any,
    ) -> None:
        self._app = app
        if isinstance(task, dict):
            super().__init__(task)
            return
        name = getattr(task, "name", None)
        if name is None:
            name = task
        else:
            self._type = task
        super().__init__(
            task=name,
            args=tuple(args or ()),
            kwargs=kwargs or {},
            options={**(options or {}), **more},
            subtask_type=subtask_type,
            immutable=immutable,
        )

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[S], S]:
        """Class decorator: signatures whose `subtask_type` is `name` (the class's own) become this class."""

        def register(subclass: S) -> S:
            cls.TYPES[name or subclass.__name__] = subclass
            return subclass

        return register

    @classmethod
    def from_dict(cls, d: dict[str, Any], app: App | None = None) -> Signature:
        """The signature that a dict describes, of the class that its `subtask_type` names."""
        kind = d.get("subtask_type")
        if kind:
            found = cls.TYPES.get(kind)
            if found is None:
                from taskyard.canvas import all_types

                found = all_types()[kind]
            if found is not cls:
                return found.from_dict(d, app=app)
        return Signature(d, app=app)

    # -- what it stands for
    @property
    def name(self) -> str:
        """The same as `task`, as a task has it."""
        return cast("str", self.task)

    @cached_property
    def app(self) -> App:
        """The app that sends it."""
        return self._app if self._app is not None else current_app()

    @cached_property
    def type(self) -> Any:
        """The task; KeyError if it is not registered here."""
        return self._type or self.app.tasks[self["task"]]

    @cached_property
    def AsyncResult(self) -> Any:  # noqa: N802  Celery's name
        """What makes a result of a task id."""
        try:
            return self.type.AsyncResult
        except KeyError:
            return self.app.AsyncResult

    @cached_property
    def _apply_async(self) -> Any:
        try:
            return self.type.apply_async
        except KeyError:
            return partial(self.app.send_task, self["task"])

    @property
    def can_be_sent_with_others(self) -> bool:
        """Whether sending it is nothing but a message: nobody has put an `apply_async` of his own in place
        of the signature's or the task's, for this one or for all, as tracers do.
        """
        if type(self) is not Signature or Signature.apply_async is not _APPLY_ASYNC:
            return False
        if not {"_apply_async", "apply_async"}.isdisjoint(self.__dict__):
            return False
        try:
            task = self.type
        except KeyError:
            return True
        kind: Any = type(task)
        standard = getattr(kind, "apply_async", None) is getattr(kind, "standard_apply_async", kind)
        return standard and "apply_async" not in vars(task)

    # -- variants
    def _merge(
        self, args: Any = None, kwargs: Any = None, options: dict[str, Any] | None = None, force: bool = False
    ) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """Its arguments and options with these added; an immutable one takes no arguments unless `force`."""
        own: dict[str, Any] = self.options
        merged = own
        if options is not None:
            fixed = FIXED_OPTIONS.union(own.get("stamped_headers") or ())
            merged = {**own, **{n: v for n, v in options.items() if n not in fixed or n not in own}}
        if self.immutable and not force:
            return self.args, self.kwargs, merged
        return (
            (*args, *self.args) if args else self.args,
            {**self.kwargs, **kwargs} if kwargs else self.kwargs,
            merged,
        )

    def clone(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """A copy with arguments and options merged in; its options are deeply its own, its arguments not."""
        args, kwargs, options = self._merge(args, kwargs, options)
        if kwargs is self.kwargs:
            kwargs = dict(kwargs)
        copy = Signature.from_dict(
            {
                "task": self.task,
                "args": tuple(args),
                "kwargs": kwargs,
                "options": deepcopy(options) if options else {},
                "subtask_type": self.subtask_type,
                "immutable": self.immutable,
            },
            app=self._app,
        )
        copy._type = self._type
        return copy

    partial = clone

    def replace(self, args: Any = None, kwargs: Any = None, options: Any = None) -> Any:
        """A copy with other arguments, keyword arguments or options (None: the same)."""
        copy = self.clone()
        for name, value in (("args", args), ("kwargs", kwargs), ("options", options)):
            if value is not None:
                copy[name] = value
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> Any:
        """Set options, and return itself."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Set whether it takes more arguments."""
        self.immutable = immutable

    # -- composing
    def __or__(self, other: Any) -> Any:
        """`a | b`: b after a, with its result."""
        from taskyard.canvas.composition import compose

        return compose(self, other)

    def __ior__(self, other: Any) -> Any:
        return self.__or__(other)

    # -- as data
    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """The call as text: `add(2, 2)`."""
        args, kwargs, _ = self._merge(args, kwargs, {}, force=True)
        return call_as_text(self["task"], args, kwargs)

    def __repr__(self) -> str:
        return self.reprcall()

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        copy = dict(self)
        memo[id(self)] = copy
        copy["options"] = deepcopy(self.options, memo)
        return copy

    def __reduce__(self) -> Any:
        return signature, (dict(self),)

    def __json__(self) -> dict[str, Any]:
        return dict(self)


#: As they are here, whatever is put in their place later.
_APPLY_ASYNC = Signature.apply_async


def signature(varies: Any, *args: Any, **kwargs: Any) -> Any:
    """A copy of a signature, the signature that a dict describes, or a new one for a task or task name."""
    if isinstance(varies, Signature):
        return varies.clone()
    if isinstance(varies, dict):
        return Signature.from_dict(varies, app=kwargs.get("app"))
    return Signature(varies, *args, **kwargs)


def maybe_signature(d: Any, app: App | None = None, clone: bool = False) -> Any:
    """The signature itself (a copy with `clone`) or the one that a dict describes, bound to `app`; None for
    None.
    """
    if d is None:
        return None
    if isinstance(d, Signature):
        if clone:
            d = d.clone()
    elif isinstance(d, dict):
        d = Signature.from_dict(d, app=app)
    if app is not None:
        d._app = app
    return d


def current_app() -> App:
    """The app of signatures that were made without one."""
    from taskyard.shared import current_app

    return cast("App", current_app)
