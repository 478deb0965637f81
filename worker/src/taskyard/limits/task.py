"""LimitedTask: a task that keeps to its rules, wherever it is sent from and whichever pool runs it.

`@app.task(limits=[...])` makes one; class-based tasks derive from it. Direct calls and eager runs are not
limited: they have no worker to wait in.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from taskyard.context import Request, current
from taskyard.limits.admission import Admission, DuplicateTask, limits_of, seconds_until
from taskyard.limits.rules import Concurrency, Once, Rate, Rule, check_keys, key_of
from taskyard.message.identity import new_id
from taskyard.task import Task

if TYPE_CHECKING:
    from taskyard.app import App

#: Seconds that a claim lives until its message is known to be sent.
_SENDING = 60.0
#: Options of apply_async that make a message part of a workflow: its own id must exist.
_WORKFLOW = ("chain", "chord", "group_id", "link", "link_error", "task_id")


class LimitedTask(Task[..., Any]):
    """A task with `limits`."""

    limits: ClassVar[Sequence[Rule]] = ()
    _rules: ClassVar[tuple[Rule, ...]] = ()
    _takes: ClassVar[inspect.Signature] = inspect.Signature()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "run" not in vars(cls) and "limits" not in vars(cls):
            return
        run = inspect.getattr_static(cls, "run")
        cls._rules = (
            tuple(sorted(cls.limits, key=lambda rule: _ORDER.get(type(rule), 0))) if cls.limits else ()
        )
        if not cls._rules or run is inspect.getattr_static(LimitedTask, "run"):
            return
        free = isinstance(run, staticmethod)
        function = run.__func__ if free else run
        function = getattr(function, "__unlimited__", function)
        signature = inspect.signature(function)
        if not free:
            signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        cls._takes = signature
        check_keys(cls._rules, signature, cls.__name__)
        cls.throws = (*cls.throws, DuplicateTask)
        guarded = _guarded(function)
        cls.run = staticmethod(guarded) if free else guarded  # type: ignore[method-assign]

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, **options: Any
    ) -> Any:
        """As Task.apply_async; a duplicate by Once is not sent, and the result of the first returned."""
        rule = next((each for each in self._rules if isinstance(each, Once)), None)
        if rule is None or any(options.get(name) for name in _WORKFLOW) or _eager(self.app):
            return super().apply_async(args, kwargs, **options)
        if self.typing:
            self.check_arguments(args or (), kwargs or {})
        store = limits_of(self.app).store
        key = key_of(rule, self.name, self._takes, args or (), kwargs or {})
        task_id = new_id()
        claim = store.claim(key, task_id, min(rule.window, _SENDING))
        if claim.owner != task_id:
            return self.AsyncResult(claim.owner)
        try:
            result = super().apply_async(args, kwargs, task_id=task_id, **options)
        except BaseException:
            store.drop_claim(key, task_id)
            raise
        waits = seconds_until(options.get("eta") or options.get("countdown"))
        store.keep_claim(key, task_id, rule.window + waits)
        return result


def limited_base(base: type[Task[..., Any]]) -> type[Task[..., Any]]:
    """The base class for a task with limits that would otherwise derive from `base`."""
    if issubclass(base, LimitedTask):
        return base
    return type(base.__name__, (LimitedTask, base), {"__module__": base.__module__, "__doc__": base.__doc__})


_ORDER: dict[type, int] = {Once: 0, Concurrency: 1, Rate: 2}


def _eager(app: App) -> bool:
    return bool(getattr(app.conf, "task_always_eager", False))


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function behind its task's rules."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def limited_coroutine(*args: Any, **kwargs: Any) -> Any:
            work = _limited_work()
            if work is None:
                return await function(*args, **kwargs)
            admission = Admission(*work)
            await asyncio.to_thread(admission.enter)
            try:
                with admission.lease_in_context():
                    value = await function(*args, **kwargs)
            except BaseException as error:
                await asyncio.to_thread(admission.leave, error)
                raise
            await asyncio.to_thread(admission.leave, None)
            return value

        limited_coroutine.__unlimited__ = function  # type: ignore[attr-defined]
        return limited_coroutine

    @functools.wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:
        work = _limited_work()
        if work is None:
            return function(*args, **kwargs)
        admission = Admission(*work)
        admission.enter()
        try:
            with admission.lease_in_context():
                value = function(*args, **kwargs)
        except BaseException as error:
            admission.leave(error)
            raise
        admission.leave(None)
        return value

    limited.__unlimited__ = function  # type: ignore[attr-defined]
    return limited


def _limited_work() -> tuple[LimitedTask, Request] | None:
    """The running task and its message, unless it was called directly or runs eagerly."""
    running = current.get()
    if running is None:
        return None
    task, request = running
    if not isinstance(task, LimitedTask) or request.called_directly or request.is_eager:
        return None
    return task, request
