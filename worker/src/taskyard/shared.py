"""The current app, and tasks that belong to every app.

The current app is that of this thread (the one made last in it), then the default app, then any app that
another thread has made current: a web server's threads see the app its main thread has made.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, overload

from taskyard.context import current, current_worker_task, enter, leave
from taskyard.context import current_task as get_current_task
from taskyard.local import Proxy

if TYPE_CHECKING:
    from typing import ParamSpec

    from taskyard.app import App
    from taskyard.context import Request
    from taskyard.task import Task

    P = ParamSpec("P")
    R = TypeVar("R")

F = TypeVar("F", bound=Callable[[Any], Any])


class _Tls(threading.local):
    current_app: Any = None


_tls: Any = _Tls()
#: The app of threads that have none of their own; `App.set_default` and `set_default_app` set it.
default_app: Any = None
#: The app of those who have made none.
_fallback: Any = None
#: Makes the app that is current where nobody has made one; put here by the module of App.
_makers: list[Callable[[], Any]] = []

_apps: weakref.WeakSet[App] = weakref.WeakSet()
_made_current: weakref.ref[App] | None = None
#: Called with each app when it is finalized; shared and built-in tasks come from here.
_on_app_finalizers: set[Callable[[Any], Any]] = set()


def get_current_app() -> Any:
    """The app of this thread, or the default."""
    global _fallback
    app = _tls.current_app or default_app
    if app is None and _made_current is not None:
        app = _made_current()
    if app is None:
        if _fallback is None:
            _fallback = _makers[-1]()
        app = _fallback
    return app


def set_default_app(app: Any) -> None:
    """Make it the app of all threads that have none of their own."""
    global default_app
    default_app = app


def _set_current_app(app: Any) -> None:
    global _made_current
    _tls.current_app = app
    _made_current = weakref.ref(app) if app is not None else None


def app_or_default(app: Any = None) -> Any:
    """The app, or the current one."""
    return get_current_app() if app is None else app


def _register_app(app: App) -> None:
    _apps.add(app)


def _deregister_app(app: App) -> None:
    _apps.discard(app)


def _get_active_apps() -> weakref.WeakSet[App]:
    return _apps


def connect_on_app_finalize(callback: F) -> F:
    """Call it with each app that is finalized."""
    _on_app_finalizers.add(callback)
    return callback


def _announce_app_finalized(app: App) -> None:
    for callback in list(_on_app_finalizers):
        callback(app)


#: Stands for the current app.
current_app: Any = Proxy(get_current_app)
#: Stands for the task that runs here; false outside of tasks.
current_task: Any = Proxy(get_current_task)

get_current_worker_task = current_worker_task


class _TaskStack:
    """The running tasks of this context, by the methods that Celery's stack has."""

    @property
    def stack(self) -> list[Task[..., Any]]:
        return list(reversed(list(self._frames())))

    @property
    def top(self) -> Task[..., Any] | None:
        return get_current_task()

    def push(self, task: Task[..., Any]) -> None:
        from taskyard.context import Context

        enter(task, Context(task=task.name))

    def pop(self) -> Task[..., Any] | None:
        task = self.top
        leave()
        return task

    def _frames(self) -> Iterator[Any]:
        running: tuple[Task[..., Any] | None, Request] | None = current.get()
        while running is not None:
            yield running[0]
            running = running[1].below

    def __len__(self) -> int:
        return len(self.stack)


_task_stack = _TaskStack()
push_current_task = _task_stack.push
pop_current_task = _task_stack.pop


@overload
def shared_task(function: Callable[P, R], /) -> Task[P, R]: ...


@overload
def shared_task(function: None = None, /, **options: Any) -> Callable[[Callable[..., R]], Task[..., R]]: ...


def shared_task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """A task of every app, those to come too; used through the current app.

    For modules that know no app: Django applications, libraries.
    """

    def share(body: Callable[..., Any]) -> Any:
        if type(body) is Proxy:
            raise TypeError("@shared_task was applied more than once to the same function")
        name = options.get("name")

        def register(app: App) -> Task[..., Any]:
            return app._take_shared(body, **options)

        connect_on_app_finalize(register)
        for app in list(_apps):
            if app.finalized:
                register(app)

        def find() -> Any:
            app = get_current_app()
            return app.tasks[name or app.gen_task_name(body.__name__, body.__module__)]

        return Proxy(find)

    if function is None:
        return share
    if not callable(function):
        raise TypeError("@shared_task takes a function or options by keyword")
    return share(function)
