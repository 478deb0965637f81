"""LimitedTask: a task that keeps to its rules, wherever it is sent from and whichever pool runs it.

`@app.task(limits=[...])` makes one; class-based tasks derive from it. Direct calls and eager runs are not
limited: they have no worker to wait in.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from taskyard.context import Request, current
from taskyard.errors import Ignore, Postpone, Reject, Retry, TaskError
from taskyard.limits.keeper import Kept, keeper
from taskyard.limits.leases import Lease, Limits, NotAdmitted
from taskyard.limits.rules import Concurrency, Once, Rate, Rule, check_keys, key_of
from taskyard.limits.store import LimitStoreError, Store
from taskyard.message.identity import new_id
from taskyard.task import Task

if TYPE_CHECKING:
    from taskyard.app import App

logger = logging.getLogger("taskyard.limits")

#: Seconds that a claim lives until its message is known to be sent.
_SENDING = 60.0
#: Seconds until a task that could not ask its store comes again.
_STORE_AWAY = 5.0
#: Longest time between two attempts to get a slot, seconds.
_LONGEST_WAIT = 30.0

#: Options of apply_async that make a message part of a workflow: its own id must exist.
_WORKFLOW = ("chain", "chord", "group_id", "link", "link_error", "task_id")

_lease: ContextVar[Lease | None] = ContextVar("taskyard_lease", default=None)
_limits: WeakKeyDictionary[App, Limits] = WeakKeyDictionary()


class DuplicateTask(TaskError):  # noqa: N818
    """Another message with the same key of Once runs, or has run; `first` is its task id."""

    def __init__(self, first: str) -> None:
        super().__init__(first)
        self.first = first

    def __str__(self) -> str:
        return f"duplicate of task {self.first}"


def limits_of(app: App) -> Limits:
    """The app's limits, opened once."""
    found = _limits.get(app)
    if found is None:
        found = _limits[app] = Limits(app)
    return found


def current_lease() -> Lease | None:
    """The lease that the running task holds by its (last) Lock or Concurrency, with its fencing token."""
    return _lease.get()


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
        waits = _seconds_until(options.get("eta") or options.get("countdown"))
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


class Admission:
    """One message's way through its task's rules: first Once, then slots, rates last; all or nothing."""

    def __init__(self, task: LimitedTask, request: Request) -> None:
        self._task = task
        self._request = request
        self._id = str(request.id)
        self._claim: tuple[str, float] | None = None
        self._lease: Lease | None = None
        self._held = ExitStack()
        self._store: Store

    def enter(self) -> None:
        """Get in, or raise Postpone, NotAdmitted, DuplicateTask, or Ignore for what is done already."""
        task, request = self._task, self._request
        try:
            self._store = limits_of(task.app).store
            for rule in task._rules:
                key = key_of(rule, task.name, task._takes, request.args, request.kwargs)
                if isinstance(rule, Once):
                    self._once(rule, key)
                elif isinstance(rule, Concurrency):
                    self._slot(rule, key)
                else:
                    self._rate(rule, key)
        except LimitStoreError as error:
            self._held.close()
            raise Postpone(_STORE_AWAY, str(error)) from error
        except BaseException as error:
            self.leave(error)
            raise

    def _once(self, rule: Once, key: str) -> None:
        store, task_id = self._store, self._id
        claim = store.claim(key, task_id, rule.window)
        if claim.owner != task_id:
            raise DuplicateTask(claim.owner)
        if claim.done:
            raise Ignore
        kept = Kept(f"claim of {key!r}", rule.window, lambda: store.keep_claim(key, task_id, rule.window))
        kept.renew()  # a claim that was made long ago lives its whole window again
        keeper.keep(kept)
        self._held.callback(keeper.let_go, kept)
        self._claim = key, rule.window

    def _slot(self, rule: Concurrency, key: str) -> None:
        # Each run holds for itself: a message that is delivered again waits for the lease of the lost one.
        holder = f"{self._id}/{new_id()[:8]}"
        entry = self._store.enter(key, rule.limit, holder, self._id, rule.lease)
        if not entry.token:
            if rule.busy == "fail":
                self._store.leave_line(key, self._id)
                raise NotAdmitted(key, rule.retry_after)
            wait = rule.retry_after * (1 + entry.place // rule.limit)
            raise Postpone(min(wait, _LONGEST_WAIT) * random.uniform(0.75, 1.25), f"{key!r} is busy")
        self._lease = Lease(self._store, key, holder, entry.token, rule.lease)
        self._held.callback(self._lease.release)

    def _rate(self, rule: Rate, key: str) -> None:
        longest = 0.0 if rule.busy == "fail" else None
        wait = self._store.take(key, rule.per / rule.count, rule.burst, self._id, longest)
        if wait:
            if rule.busy == "fail":
                raise NotAdmitted(key, wait)
            raise Postpone(wait, f"the rate of {key!r} is reached")

    @contextmanager
    def lease_in_context(self) -> Iterator[None]:
        """`current_lease()` is this one's."""
        token = _lease.set(self._lease)
        try:
            yield
        finally:
            _lease.reset(token)

    def leave(self, error: BaseException | None) -> None:
        """The task has ended, by that error or well. What cannot be given up now runs out by itself."""
        try:
            self._held.close()
            if self._claim is None:
                return
            key, window = self._claim
            if error is None or isinstance(error, Ignore):
                self._store.keep_claim(key, self._id, window, done=True)
            elif self._comes_again(error):
                self._store.keep_claim(key, self._id, window + self._pause_after(error))
            else:
                self._store.drop_claim(key, self._id)
        except LimitStoreError as away:
            logger.warning("What task %s held runs out by itself: %s", self._id, away)

    def _comes_again(self, error: BaseException) -> bool:
        if isinstance(error, Reject):
            return error.requeue
        if isinstance(error, Retry | Postpone):
            return True
        task, retries = self._task, self._request.retries
        return (
            isinstance(error, tuple(task.autoretry_for))
            and not isinstance(error, tuple(task.dont_autoretry_for))
            and (task.max_retries is None or retries < task.max_retries)
        )

    def _pause_after(self, error: BaseException) -> float:
        """Seconds until the message comes again, at most."""
        if isinstance(error, Retry):
            return _seconds_until(error.when)
        if isinstance(error, Postpone):
            return error.seconds
        if isinstance(error, Reject):
            return 0.0
        task = self._task
        return float(task.retry_backoff_max if task.retry_backoff else task.default_retry_delay)


def _seconds_until(when: float | datetime | str | None) -> float:
    """Of a countdown or a date; a date without a zone is UTC."""
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    if isinstance(when, datetime):
        moment = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    return float(when or 0)
