"""Admission: one message's way through its task's rules, and out again."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from taskyard.context import Request
from taskyard.errors import Ignore, Postpone, Reject, Retry, TaskError
from taskyard.limits.keeper import Kept, keeper
from taskyard.limits.leases import Lease, Limits, NotAdmitted
from taskyard.limits.rules import Concurrency, Once, Rate, key_of, share_of
from taskyard.limits.store import LimitStoreError, Share, Store
from taskyard.message.identity import new_id

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.limits.task import LimitedTask

logger = logging.getLogger("taskyard.limits")

#: Seconds until a task that could not ask its store comes again.
_STORE_AWAY = 5.0
#: Longest time between two attempts to get a slot, seconds.
_LONGEST_WAIT = 30.0

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
                    name = share_of(rule, task._takes, request.args, request.kwargs)
                    self._slot(rule, key, Share(name, _patience(rule)) if name else None)
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

    def _slot(self, rule: Concurrency, key: str, share: Share | None) -> None:
        # Each run holds for itself: a message that is delivered again waits for the lease of the lost one.
        holder = f"{self._id}/{new_id()[:8]}"
        if share is not None:
            holder = share.holder(holder)
        entry = self._store.enter(key, rule.limit, holder, self._id, rule.lease, share)
        if not entry.token:
            if rule.busy == "fail":
                self._store.leave_line(key, self._id, share)
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
            return seconds_until(error.when)
        if isinstance(error, Postpone):
            return error.seconds
        if isinstance(error, Reject):
            return 0.0
        task = self._task
        return float(task.retry_backoff_max if task.retry_backoff else task.default_retry_delay)


def _patience(rule: Concurrency) -> float:
    """How long a share that was refused counts as waiting: the first of its line comes back before that."""
    return 0.0 if rule.busy == "fail" else 3 * rule.retry_after + 2


def seconds_until(when: float | datetime | str | None) -> float:
    """Of a countdown or a date; a date without a zone is UTC."""
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    if isinstance(when, datetime):
        moment = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    return float(when or 0)
