"""From a decorated function to a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskyard.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskyard.app import App

#: Options of @task that are no attributes.
_MAKING = ("bind", "pydantic", "pydantic_strict", "pydantic_context", "pydantic_dump_kwargs", "limits")
#: Celery's options that name classes of its worker.
_REFUSED = {
    "Strategy": "use the signal task_received or worker steps",
    "Request": "use task signals or the task's hooks",
}


def origin_of(function: Callable[..., Any]) -> str:
    """Where a function stands, to tell a reload from a clash of names."""
    return f"{function.__module__}:{getattr(function, '__qualname__', function.__name__)}"


def make_task(
    app: App, function: Callable[..., Any], base: type[Task[..., Any]], options: dict[str, Any]
) -> Task[..., Any]:
    """A task whose run() is the function; `bind` gives it the task as first argument.

    Options that are none of Task's become attributes; one that is nearly spelled as such is an error.
    """
    options = dict(options)
    for option in options:
        _check_option(base, option)
    name = options.pop("name", None) or app.gen_task_name(function.__name__, function.__module__)
    bind = options.pop("bind", False)
    body, dump = function, None
    pydantic = {each: options.pop(each) for each in _MAKING[1:5] if each in options}
    if pydantic.pop("pydantic", False):
        from taskyard.models import with_models

        body, dump = with_models(app, function, name, bind=bind, **pydantic)
    if options.get("limits"):
        from taskyard.limits.task import limited_base

        base = limited_base(base)
    backend = options.pop("backend", None)
    for each in ("autoretry_for", "dont_autoretry_for", "throws"):
        if each in options:
            options[each] = tuple(options[each])
    attributes: dict[str, Any] = {
        "_app": app,
        "name": name,
        "run": body if bind else staticmethod(body),
        "origin": origin_of(function),
        "function": staticmethod(function),
        "dump_arguments": None if dump is None else staticmethod(dump),
        "__name__": function.__name__,
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__annotations__": getattr(function, "__annotations__", {}),
        "__wrapped__": function if bind else staticmethod(function),
        **options,
    }
    if backend is not None:
        attributes["_backend"] = backend
    kind = type(function.__name__, (base,), attributes)
    kind.__qualname__ = getattr(function, "__qualname__", function.__name__)
    task: Task[..., Any] = kind()
    return task


def _check_option(base: type[Any], option: str) -> None:
    if option in _REFUSED:
        raise TypeError(f"task option {option!r} is not supported: {_REFUSED[option]}")
    if option in _MAKING or hasattr(base, option):
        return
    known = [each for each in (*_MAKING, *dir(Task)) if not each.startswith("_")]
    from difflib import get_close_matches

    near = get_close_matches(option, known, n=1, cutoff=0.8)
    if near:
        raise TypeError(f"unknown task option {option!r}; did you mean {near[0]!r}?")
