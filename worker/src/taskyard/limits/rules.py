"""The rules that a task can have: Once, Lock, Concurrency, Rate.

    @app.task(limits=[Once("{order}", window=3600), Lock("order:{order}"), Rate(10, key="shop-api")])
    def send_receipt(order: int) -> None: ...

A key is a template over the task's arguments, or a function of them. Locks, concurrency and rates of the
same key are shared by all tasks that name it; a key of Once belongs to its task. Without a key, Once takes
all arguments together and the others the task's name.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from string import Formatter
from typing import Any, Literal

from taskyard.errors import ImproperlyConfigured

Key = str | Callable[..., str] | None

#: Longer keys are replaced by their digest.
_LONGEST_KEY = 200


@dataclass(frozen=True, slots=True)
class Once:
    """Run once per key within `window` seconds.

    The key is claimed when the task is sent by `delay` or `apply_async`: while the claim lives, sending again
    sends nothing and returns the result of the first. Messages that come another way (by `send_task`, from
    another program, inside a chain, group or chord) are checked when they start: a duplicate does not run,
    its result is a failure, DuplicateTask, that names the first (`first`).

    The claim lives for `window` seconds after the task was sent, after it started and after it ended, and as
    long as it runs; retries belong to it. A task that fails for good gives it up, so that a new call can run.
    A message that is delivered again after its task had succeeded is dropped. What is left: a process that
    is killed in mid-task runs again (delivery is at least once), and a window shorter than the time in the
    queue lets two messages be sent, of which one runs.
    """

    key: Key = None
    window: float = 3600.0


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most `limit` tasks of the key run at the same time, over all workers.

    A task that finds no room goes back to the broker and comes again after `retry_after` seconds, later the
    more tasks wait before it; it takes no slot meanwhile and none of its retries. `busy="fail"` lets it fail
    with NotAdmitted instead. Guarantee: see taskyard.limits.leases; `current_lease()` gives the running
    task's lease with its fencing token. Who waits longest is not always next.

    `share` divides the places fairly, for example between tenants: while tasks of several shares want places,
    each share gets an equal part of them, however many tasks it has sent; alone it may have all.
    """

    limit: int
    key: Key = None
    lease: float = 30.0
    retry_after: float = 1.0
    busy: Literal["wait", "fail"] = "wait"
    share: Key = None

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ImproperlyConfigured(f"a concurrency limit must be at least 1, not {self.limit}")


def Lock(  # noqa: N802  a kind of rule, like its siblings
    key: Key = None, *, lease: float = 30.0, retry_after: float = 1.0, busy: Literal["wait", "fail"] = "wait"
) -> Concurrency:
    """One task of the key at a time: Concurrency with a limit of 1."""
    return Concurrency(1, key, lease, retry_after, busy)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` starts in `per` seconds over all workers, `burst` of them at once (a token bucket).

    A task that comes too early books the next free moment and goes back to the broker until then: it waits
    once, takes no slot meanwhile, and none of its retries. A booking that nobody comes back for (the task
    was revoked or has expired) is a start that is not used. `busy="fail"` lets it fail with NotAdmitted.
    """

    count: float
    per: float = 1.0
    key: Key = None
    burst: int = 1
    busy: Literal["wait", "fail"] = "wait"

    def __post_init__(self) -> None:
        if self.count <= 0 or self.per <= 0 or self.burst < 1:
            raise ImproperlyConfigured("a rate needs a count and a time above 0 and a burst of at least 1")


Rule = Once | Concurrency | Rate


def check_keys(rules: tuple[Rule, ...], signature: inspect.Signature, task: str) -> None:
    """ImproperlyConfigured if a key names something that the task has no argument for."""
    for rule in rules:
        if not isinstance(rule, Once | Concurrency | Rate):
            raise ImproperlyConfigured(
                f"task {task}: limits= takes Once, Lock, Concurrency and Rate, not {rule!r}"
            )
        for key in (rule.key, rule.share if isinstance(rule, Concurrency) else None):
            if isinstance(key, str):
                _check_key(key, signature, task)


def _check_key(key: str, signature: inspect.Signature, task: str) -> None:
    for _, field, _, _ in Formatter().parse(key):
        name = (field or "").partition(".")[0].partition("[")[0]
        if field is not None and name not in signature.parameters:
            known = ", ".join(signature.parameters) or "none"
            raise ImproperlyConfigured(
                f"task {task}: the key {key!r} names {name!r}; the task's arguments are {known}"
            )


def key_of(rule: Rule, task: str, signature: inspect.Signature, args: Any, kwargs: Any) -> str:
    """The rule's key for these arguments; TypeError if the task does not take them."""
    bound = _bound(signature, args, kwargs)
    if rule.key is not None:
        text = _filled(rule.key, bound)
    elif isinstance(rule, Once):
        text = json.dumps([bound.args, bound.kwargs], sort_keys=True, default=repr)
    else:
        text = task
    if isinstance(rule, Once):
        text = f"{task}:{text}"
    return _short(text)


def share_of(rule: Concurrency, signature: inspect.Signature, args: Any, kwargs: Any) -> str:
    """The rule's share for these arguments, "" if it divides nothing."""
    return "" if rule.share is None else _short(_filled(rule.share, _bound(signature, args, kwargs)))


def _bound(signature: inspect.Signature, args: Any, kwargs: Any) -> inspect.BoundArguments:
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound


def _filled(key: str | Callable[..., str], bound: inspect.BoundArguments) -> str:
    if callable(key):
        return str(key(*bound.args, **bound.kwargs))
    return key.format(**bound.arguments)


def _short(text: str) -> str:
    if len(text) > _LONGEST_KEY or not text.isprintable() or "}" in text:
        text = hashlib.sha256(text.encode()).hexdigest()
    return text
