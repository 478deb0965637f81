"""The setting task_routes: who decides where a task goes.

The setting is one router or a list of them, asked in order until one answers. A router is a map (or a list of
pairs) from task names, globs and regular expressions to options, a function ``(name, args, kwargs, options,
task=None, **kw)``, an object with ``route_for_task(task, args, kwargs)``, or the dotted path of one of these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from importlib import import_module
from typing import Any

from taskyard.errors import ImproperlyConfigured, QueueNotFound

Options = dict[str, Any]
#: Answers with options of apply_async, with the name of a queue, or with None.
RouterFunction = Callable[..., Any]


class MapRoute:
    """Routes by name: an exact one first, then globs and regular expressions in their order."""

    def __init__(self, rules: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> None:
        pairs = rules.items() if isinstance(rules, Mapping) else rules
        self.map: dict[str, Any] = {}
        self.patterns: dict[re.Pattern[str], Any] = {}
        for pair in pairs:
            try:
                pattern, rule = pair
            except (TypeError, ValueError):
                raise ImproperlyConfigured(
                    f"task_routes: {pair!r} must be a pair of a task's name and where it goes"
                ) from None
            if isinstance(pattern, re.Pattern):
                self.patterns[pattern] = _checked(pattern.pattern, rule)
            elif any(letter in pattern for letter in "*?["):
                self.patterns[re.compile(translate(pattern))] = _checked(pattern, rule)
            else:
                self.map[pattern] = _checked(pattern, rule)

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Options | None:
        """The options for a task of that name, or None."""
        rule = self.map.get(name)
        if rule is None:
            for pattern, each in self.patterns.items():
                if pattern.match(name):
                    rule = each
                    break
        return None if rule is None else as_options(rule)


def _checked(pattern: str, rule: Any) -> Any:
    if isinstance(rule, (str, Mapping)) or _is_queue(rule):
        return rule
    raise ImproperlyConfigured(
        f"task_routes[{pattern!r}] must be a queue name or a dict of options such as 'queue' and 'priority', "
        f"not {rule!r}"
    )


def _is_queue(value: Any) -> bool:
    return type(value).__name__ in ("Queue", "Broadcast") and hasattr(value, "queue_arguments")


def as_options(answer: Any) -> Options:
    """What a router answered, as options: a queue by its name is allowed too."""
    if isinstance(answer, Mapping):
        return dict(answer)
    return {"queue": answer}


class Routes:
    """All routers of the setting."""

    def __init__(self, setting: Any) -> None:
        self.routers: list[RouterFunction] = prepare(setting)
        #: Whether a task's name alone decides, so that the answer can be remembered.
        self.by_name = all(isinstance(each, MapRoute) for each in self.routers)

    def lookup(
        self,
        name: str,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        task: Any = None,
    ) -> Options:
        """The first answer, as options; empty when no router has one."""
        return answer_of(self.routers, name, args, kwargs, options, task)


def answer_of(
    routers: Iterable[RouterFunction], name: str, args: Any, kwargs: Any, options: Any, task: Any
) -> Options:
    """The first answer of the routers, as options; empty when none has one."""
    for router in routers:
        answer = router(name, args, kwargs or {}, dict(options or {}), task=task)
        if answer is not None:
            return as_options(answer)
    return {}


class Router:
    """Routes in Celery's form: options of apply_async in, options with a kombu Queue out."""

    def __init__(
        self, routes: Any = None, queues: Any = None, create_missing: bool = False, app: Any = None
    ) -> None:
        self.app = app
        self.queues = {} if queues is None else queues
        self.routes = [] if routes is None else routes
        self.create_missing = create_missing

    def route(
        self,
        options: Mapping[str, Any] | str,
        name: str,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        task_type: Any = None,
    ) -> Options:
        """The options completed by the routes, or by the default queue."""
        given = self.expand_destination(options)
        answer = self.lookup_route(name, args, kwargs, given, task_type)
        if not answer and "queue" not in given:
            answer = {"queue": self.app.conf.task_default_queue}
        chosen = {option: value for option, value in given.items() if value is not None}
        return {**self.expand_destination(answer or {}), **chosen}

    def lookup_route(
        self, name: str, args: Any = None, kwargs: Any = None, options: Any = None, task_type: Any = None
    ) -> Options | None:
        """What the routes say about a task, or None."""
        return answer_of(self.routes, name, args, kwargs, options, task_type) or None

    def expand_destination(self, route: Mapping[str, Any] | str) -> Options:
        """The route with its queue as a kombu Queue."""
        options = as_options(route)
        queue = options.pop("queue", None)
        if queue:
            options["queue"] = queue if _is_queue(queue) else self._queue(queue)
        return options

    def _queue(self, name: str) -> Any:
        try:
            return self.queues[name]
        except QueueNotFound:
            raise
        except KeyError:
            raise QueueNotFound(f"Queue {name!r} missing from task_queues") from None


def prepare(setting: Any) -> list[RouterFunction]:
    """The routers that a value of task_routes stands for."""
    if setting is None:
        return []
    if isinstance(setting, Mapping) or not isinstance(setting, (list, tuple)) or _is_pairs(setting):
        setting = [setting]
    return [_router(each) for each in setting]


def _is_pairs(value: Any) -> bool:
    """Whether this is one map written as pairs, not a list of routers."""
    return bool(value) and all(
        isinstance(pair, tuple)
        and len(pair) == 2
        and isinstance(pair[0], (str, re.Pattern))
        and (isinstance(pair[1], (str, Mapping)) or _is_queue(pair[1]))
        for pair in value
    )


def _router(value: Any) -> RouterFunction:
    if isinstance(value, (Mapping, list, tuple)):
        return MapRoute(value)
    if isinstance(value, str):
        return _Named(value)
    return _callable(value)


def _callable(value: Any) -> RouterFunction:
    if isinstance(value, type) and hasattr(value, "route_for_task"):
        value = value()
    if hasattr(value, "route_for_task"):
        method = value.route_for_task

        def ask(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
            return method(name, args, kwargs)

        return ask
    if not callable(value):
        raise ImproperlyConfigured(
            f"task_routes: {value!r} is no router: give a dict, a function, or an object with route_for_task"
        )
    function: RouterFunction = value
    return function


class _Named:
    """A router by its dotted path, imported when it is first asked: it may live beside the tasks."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._router: RouterFunction | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._router is None:
            module, _, name = self._path.replace(":", ".").rpartition(".")
            try:
                self._router = _callable(getattr(import_module(module), name))
            except (ImportError, AttributeError, ValueError) as error:
                raise ImproperlyConfigured(
                    f"task_routes names the router {self._path!r}, which cannot be imported: {error}"
                ) from error
        return self._router(*args, **kwargs)
