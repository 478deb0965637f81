"""How an app comes to its tasks."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from taskyard import shared
from taskyard.app.state import AppState
from taskyard.errors import DuplicateTaskNameWarning
from taskyard.signals import import_modules
from taskyard.task import Task as TaskClass
from taskyard.task import make_task, origin_of

if TYPE_CHECKING:
    from taskyard.registry import Registry

P = ParamSpec("P")
R = TypeVar("R")


class Registering(AppState):
    """The decorator, the registry, and finding modules with tasks."""

    #: Class (or its import path) that tasks of this app derive from.
    task_cls: Any = TaskClass

    @cached_property
    def Task(self) -> type[TaskClass[..., Any]]:  # noqa: N802  Celery's name
        """The base class of this app's tasks."""
        base = resolve(self.task_cls)
        return type("Task", (base,), {"_app": self, "__module__": base.__module__, "__doc__": base.__doc__})

    @cached_property
    def tasks(self) -> Registry:
        """The registry; looking at it finalizes the app."""
        self.finalize(auto=True)
        return self._tasks

    @cached_property
    def _duplicates(self) -> set[str]:
        """Names of tasks that a warning has named."""
        return set()

    @cached_property
    def annotations(self) -> Sequence[Any]:
        """The prepared task_annotations."""
        from taskyard.annotations import prepare

        return prepare(self.conf.task_annotations)

    @overload
    def task(self, function: Callable[P, R], /) -> TaskClass[P, R]: ...

    @overload
    def task(
        self, /, *, bind: Literal[True], **options: Any
    ) -> Callable[[Callable[Concatenate[Any, P], R]], TaskClass[P, R]]: ...

    @overload
    def task(self, /, **options: Any) -> Callable[[Callable[P, R]], TaskClass[P, R]]: ...

    def task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Make a function a task, as decorator with or without options.

        `base` is the class to derive from, `shared=False` keeps the task out of other apps, `filter` may wrap
        the task, `lazy` is Celery's and not needed.
        """
        share, change = options.pop("shared", True), options.pop("filter", None)
        options.pop("lazy", None)

        def register(body: Callable[..., Any]) -> Any:
            task = self._task_from_fun(body, **options)
            if share:
                shared.connect_on_app_finalize(lambda app: app._take_shared(body, **options))
            return change(task) if change is not None else task

        if function is None:
            return register
        if not callable(function):
            raise TypeError("@task takes a function, or options by keyword")
        return register(function)

    def _task_from_fun(
        self, fun: Callable[..., Any], name: str | None = None, base: Any = None, **options: Any
    ) -> TaskClass[..., Any]:
        name = name or self.gen_task_name(fun.__name__, fun.__module__)
        known = self._tasks.find(name)
        if known is not None:
            if known.function is fun:
                return known
            if not self.conf.strict:
                if known.function is not None:  # what is registered by its class has none to compare
                    self._warn_of_duplicate(
                        name, f"{name!r} is taken by {known.origin}; {origin_of(fun)} is not registered"
                    )
                return known
        app: Any = self
        task = make_task(app, fun, resolve(base) or self.Task, {**options, "name": name})
        self._tasks.register(task)
        if self.finalized:
            type(task).bind(app)
        return task

    def _warn_of_duplicate(self, name: str, text: str) -> None:
        if name not in self._duplicates:
            self._duplicates.add(name)
            warnings.warn(DuplicateTaskNameWarning(f"task name {text}"), stacklevel=4)

    def _take_shared(self, fun: Callable[..., Any], **options: Any) -> TaskClass[..., Any]:
        """A task that belongs to all apps; it takes no name that this app has given already."""
        name = options.get("name") or self.gen_task_name(fun.__name__, fun.__module__)
        return self._tasks.find(name) or self._task_from_fun(fun, **options)

    def register_task(
        self, task: TaskClass[..., Any] | type[TaskClass[..., Any]], **options: Any
    ) -> TaskClass[..., Any]:
        """Register an instance (or class) of a class-based task; options become its attributes."""
        app: Any = self
        instance: Any = task() if isinstance(task, type) else task
        kind = type(instance)
        for option, value in options.items():
            setattr(instance, option, value)
        instance.name = instance.name or self.gen_task_name(kind.__name__, kind.__module__)
        if not instance.origin:
            instance.origin = f"{kind.__module__}:{kind.__qualname__}"
        kind._app = self
        known = self._tasks.find(instance.name)
        if known is not None and known.origin != instance.origin and not self.conf.strict:
            self._warn_of_duplicate(
                instance.name, f"{instance.name!r}: {instance.origin} has replaced {known.origin}"
            )
            self._tasks.unregister(instance.name)
        self._tasks.register(instance)
        if self.finalized:
            kind.bind(app)
        registered: TaskClass[..., Any] = instance
        return registered

    def gen_task_name(self, name: str, module: str | None) -> str:
        """The name that a function of that name in that module gets: both, with a dot."""
        module = module or "__main__"
        if module == "__main__":
            main = sys.modules["__main__"]
            spec = getattr(main, "__spec__", None)
            module = self.main or (spec.name if spec else "__main__")
        return f"{module}.{name}" if module else name

    def finalize(self, auto: bool = False) -> None:
        """Add shared and built-in tasks and give all tasks the app's settings; done when tasks are needed."""
        app: Any = self
        with self._finalizing:
            if self.finalized:
                return
            if auto and not self.autofinalize:
                raise RuntimeError("the app is not finalized: call app.finalize() first")
            self.finalized = True
            shared._announce_app_finalized(app)
            import_module("taskyard.canvas.builtins").add_builtin_tasks(app)
            for task in list(self._tasks.values()):
                type(task).bind(app)
            if self.on_after_finalize:
                self.on_after_finalize.send(sender=self)

    # -- modules with tasks
    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> list[Any] | None:
        """Import the `tasks` module of each package when the worker starts, or now with `force`.

        Without packages: those of Django's INSTALLED_APPS.
        """
        if force:
            return self._autodiscover(packages, related_name)
        import_modules.connect(
            lambda **_: self._autodiscover(packages, related_name), weak=False, sender=self
        )
        return None

    def _autodiscover(
        self, packages: Iterable[str] | Callable[[], Iterable[str]] | None, related_name: str | None
    ) -> list[Any]:
        names = packages() if callable(packages) else packages
        if names is None:
            names = self._packages_of_fixups()
        found: list[Any] = self.loader.autodiscover_tasks(names, related_name)
        return found

    def _packages_of_fixups(self) -> list[str]:
        names: list[str] = []
        for fixup in getattr(self, "_fixups", ()):
            # The second is what Celery's fixups have.
            find = getattr(fixup, "installed_apps", None) or getattr(fixup, "autodiscover_tasks", None)
            if find is not None:
                names += find()
        return names

    def import_default_modules(self) -> list[Any]:
        """Import all modules with tasks: those to discover, and the settings `imports` and `include`."""
        found: list[Any] = self.loader.import_default_modules()
        return found


def resolve(place: Any) -> Any:
    """What an import path "module:Name" (or "module.Name") stands for; anything else is itself."""
    if not isinstance(place, str):
        return place
    from taskyard.settings.source import load

    return load(place)
